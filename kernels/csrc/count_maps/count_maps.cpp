// Reads cells from JSON, without Python's lock and without an object for each gene.
// Only plain objects are read: names without escapes, numbers that are at least 0. Whatever else it meets is left to a
// full JSON reader, which knows the right error. So this file never has to say what is wrong.
#include "c2t_count_maps.h"

#include <charconv>
#include <mutex>
#include <new>
#include <shared_mutex>

#include "names.h"

namespace {

constexpr int MAX_DIGITS = 19;                   // of a mantissa that fits in 64 bits
constexpr uint64_t EXACT = uint64_t{1} << 53;    // up to here every integer is a double
constexpr double POWERS[] = {1e0,  1e1,  1e2,  1e3,  1e4,  1e5,  1e6,  1e7,  1e8,  1e9,  1e10, 1e11,
                             1e12, 1e13, 1e14, 1e15, 1e16, 1e17, 1e18, 1e19, 1e20, 1e21, 1e22};
constexpr int MAX_POWER = 22;  // the largest that is exact

struct Text {
    const char* at;
    const char* end;

    bool take(char wanted) {
        if (at == end || *at != wanted) return false;
        ++at;
        return true;
    }
    void skip_space() {
        while (at != end && (*at == ' ' || *at == '\n' || *at == '\t' || *at == '\r')) ++at;
    }
    bool digit() const { return at != end && *at >= '0' && *at <= '9'; }
};

// The name up to its closing quote, which is taken, too.
bool read_name(Text& text, const char*& name, size_t& bytes) {
    name = text.at;
    while (text.at != text.end && *text.at != '"') {
        const unsigned char c = static_cast<unsigned char>(*text.at);
        if (c < 0x20 || c >= 0x80 || c == '\\') return false;
        ++text.at;
    }
    bytes = static_cast<size_t>(text.at - name);
    return text.take('"') && bytes >= 1 && bytes <= C2T_NAME_BYTES;
}

// Another way to the nearest double, for numbers that two exact doubles do not make. libc++, which is in wheels, has it
// since version 20, but does not say so by the macro: it lacks other types.
bool read_slowly(const char* begin, const char* end, double& value) {
#if (defined(__cpp_lib_to_chars) && __cpp_lib_to_chars >= 201611L) || \
    (defined(_LIBCPP_VERSION) && _LIBCPP_VERSION >= 200000)
    const auto [stop, error] = std::from_chars(begin, end, value);
    return error == std::errc() && stop == end;
#else
    (void)begin, (void)end, (void)value;
    return false;
#endif
}

// A number as RFC 8259 has it, without a sign.
bool read_number(Text& text, double& value) {
    const char* begin = text.at;
    uint64_t mantissa = 0;
    int digits = 0, power = 0;
    const auto digit = [&] {
        mantissa = 10 * mantissa + static_cast<uint64_t>(*text.at++ - '0');
        digits += mantissa != 0;
    };
    if (!text.digit()) return false;
    const bool zero = *text.at == '0';
    digit();
    if (zero && text.digit()) return false;
    while (text.digit() && digits < MAX_DIGITS) digit();
    if (text.digit()) return false;
    if (text.take('.')) {
        if (!text.digit()) return false;
        for (; text.digit() && digits < MAX_DIGITS; --power) digit();
        if (text.digit()) return false;
    }
    if (text.take('e') || text.take('E')) {
        const bool minus = text.take('-');
        if (!minus) text.take('+');
        if (!text.digit()) return false;
        int exponent = 0;
        for (; text.digit(); ++text.at) {
            exponent = 10 * exponent + (*text.at - '0');
            if (exponent > 9999) return false;
        }
        power += minus ? -exponent : exponent;
    }
    if (mantissa <= EXACT && power >= -MAX_POWER && power <= MAX_POWER) {
        const double exact = static_cast<double>(mantissa);
        value = power < 0 ? exact / POWERS[-power] : exact * POWERS[power];
        return true;
    }
    return read_slowly(begin, text.at, value);
}

class Reader {
public:
    Reader(const c2t_names& names, c2t_count_args& args)
        : names_(names), args_(args), column_(names.size(), -1), last_cell_(names.size(), -1) {}

    int32_t read() {
        args_.indptr[0] = 0;
        for (int64_t cell = 0; cell < args_.cells; ++cell) {
            Text text{args_.texts[cell], args_.texts[cell] + args_.text_bytes[cell]};
            if (!read_object(text, cell)) return C2T_COUNTS_NOT_PLAIN;
            args_.indptr[cell + 1] = entries_;
        }
        args_.columns = columns_;
        args_.new_names_count = new_names_;
        return new_names_ ? C2T_COUNTS_NEW_NAMES : C2T_COUNTS_READ;
    }

private:
    bool read_object(Text& text, int64_t cell) {
        text.skip_space();
        if (!text.take('{')) return false;
        text.skip_space();
        if (!text.take('}')) {
            do {
                text.skip_space();
                if (!read_entry(text, cell)) return false;
                text.skip_space();
            } while (text.take(','));
            if (!text.take('}')) return false;
        }
        text.skip_space();
        return text.at == text.end;
    }

    bool read_entry(Text& text, int64_t cell) {
        const char* name = nullptr;
        size_t bytes = 0;
        double value = 0;
        if (!text.take('"') || !read_name(text, name, bytes)) return false;
        text.skip_space();
        if (!text.take(':')) return false;
        text.skip_space();
        if (!read_number(text, value)) return false;
        const int32_t number = names_.find(name, bytes);
        if (number < 0) {
            if (new_names_ == args_.room) return false;
            args_.new_names[new_names_] = name;
            args_.new_name_bytes[new_names_++] = static_cast<int32_t>(bytes);
            return true;
        }
        if (last_cell_[number] == cell) return false;  // named twice in one cell
        last_cell_[number] = cell;
        if (column_[number] < 0) {
            if (columns_ == args_.room) return false;
            args_.column_name[columns_] = number;
            column_[number] = static_cast<int32_t>(columns_++);
        }
        if (value == 0) return true;
        if (entries_ == args_.room) return false;
        args_.indices[entries_] = column_[number];
        args_.data[entries_++] = value;
        return true;
    }

    const c2t_names& names_;
    c2t_count_args& args_;
    std::vector<int32_t> column_;    // of each name; -1 while no cell has it
    std::vector<int64_t> last_cell_;  // that has the name
    int64_t entries_ = 0, columns_ = 0, new_names_ = 0;
};

}  // namespace

extern "C" c2t_names* c2t_names_new(uint64_t seed) {
    try {
        return new c2t_names(seed);
    } catch (const std::bad_alloc&) {
        return nullptr;
    }
}

extern "C" void c2t_names_free(c2t_names* names) {
    delete names;
}

extern "C" int32_t c2t_names_add(c2t_names* names, const char* bytes, const int64_t* ends, int64_t count) {
    const std::unique_lock lock(names->mutex);
    try {
        int64_t begin = 0;
        for (int64_t n = 0; n < count; ++n) {
            names->add(bytes + begin, static_cast<size_t>(ends[n] - begin));
            begin = ends[n];
        }
        return 0;
    } catch (const std::bad_alloc&) {
        return 1;
    }
}

extern "C" int32_t c2t_count_maps(c2t_names* names, struct c2t_count_args* args) {
    const std::shared_lock lock(names->mutex);
    try {
        return Reader(*names, *args).read();
    } catch (const std::bad_alloc&) {
        return C2T_COUNTS_NO_MEMORY;
    }
}
