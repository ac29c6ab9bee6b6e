// Memory for the inputs and sums of linears.
#pragma once
#include <memory>
#include <new>

#include "c2t_linears.h"

// Numbers from a cache line's beginning on, zeros at first.
template <class T> class Numbers {
public:
    Numbers() = default;
    explicit Numbers(int64_t count) : data_(make(count)) {}
    T* get() const { return data_.get(); }

private:
    struct Free { void operator()(T* p) const { ::operator delete(p, std::align_val_t{64}); } };
    static T* make(int64_t count) {
        const auto n = static_cast<size_t>(count);
        auto* const p = static_cast<T*>(::operator new(n * sizeof(T), std::align_val_t{64}));
        for (size_t i = 0; i < n; ++i) p[i] = T{};
        return p;
    }
    std::unique_ptr<T, Free> data_;
};

inline int64_t whole_panels(int64_t count) { return (count + C2T_PANEL_COLUMNS - 1) / C2T_PANEL_COLUMNS * C2T_PANEL_COLUMNS; }

// Numbers from a row of a linear's inputs to the next: an odd number of cache lines, for rows that are read together
// would compete for a few places of the first-level cache if their addresses differed by a large power of two.
inline int64_t input_stride(int64_t inputs) {
    const int64_t stride = whole_panels(inputs);
    return stride / C2T_PANEL_COLUMNS % 2 ? stride : stride + C2T_PANEL_COLUMNS;
}

// Rows up to a multiple of 16, which products with tiles read and write.
inline int64_t whole_tiles(int64_t rows) { return (rows + 15) / 16 * 16; }
