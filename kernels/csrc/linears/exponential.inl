// exp(v) for every lane; what is beyond -87 and 88 counts as these. Taylor's series of exp(v - n ln 2), times 2^n.
inline Vector exponential(Vector v) {
    v = smaller(larger(v, broadcast(-87.0f)), broadcast(88.0f));
    const Vector n = rounded(multiply(v, broadcast(1.44269504f)));
    // ln 2 in two parts: the first has few bits, so that n times it is exact.
    Vector r = multiply_add(n, broadcast(-0.693359375f), v);
    r = multiply_add(n, broadcast(2.12194440e-4f), r);
    Vector p = broadcast(1.0f / 5040);
    for (const float c : {1.0f / 720, 1.0f / 120, 1.0f / 24, 1.0f / 6, 0.5f, 1.0f, 1.0f})
        p = multiply_add(p, r, broadcast(c));
    return scaled_by_power(p, n);
}
