// Memory for the inputs and sums of linears.
#pragma once
#include <cstdint>
#include <cstdlib>
#include <memory>
#include <new>
#include <type_traits>

#include "c2t_linears.h"

#if defined(__unix__) || defined(__APPLE__)
#include <sys/mman.h>
#define C2T_MAPS_MEMORY
#endif

// Numbers from a cache line's beginning on, zeros at first. They are not written here: of a buffer that is large enough
// for floats and holds bytes, only the pages with bytes become memory. Large ones are pages of the system's own: from its
// heap the C library may give memory that it must fill with zeros, and keep what is freed.
template <class T> class Numbers {
    static_assert(std::is_trivial_v<T>);

public:
    Numbers() = default;
    explicit Numbers(int64_t count) : count_(count) {
        const size_t bytes = static_cast<size_t>(count) * sizeof(T) + kLine;
#ifdef C2T_MAPS_MEMORY
        if (bytes >= kMappedBytes) {
            void* const pages = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
            if (pages == MAP_FAILED) throw std::bad_alloc();
            memory_ = {pages, Free{bytes}};
        }
#endif
        if (!memory_) memory_ = {std::calloc(bytes, 1), Free{0}};
        if (!memory_) throw std::bad_alloc();
        data_ = reinterpret_cast<T*>((reinterpret_cast<uintptr_t>(memory_.get()) + kLine - 1) / kLine * kLine);
    }
    T* get() const { return data_; }

    // Memory for at least so many numbers: zeros, where there were fewer.
    void grow(int64_t count) {
        if (count <= count_) return;
        *this = Numbers();  // free it before there is more
        *this = Numbers(count);
    }

private:
    static constexpr size_t kLine = 64, kMappedBytes = 1 << 18;
    struct Free {
        size_t mapped = 0;
        void operator()(void* p) const {
#ifdef C2T_MAPS_MEMORY
            if (mapped) {
                munmap(p, mapped);
                return;
            }
#endif
            std::free(p);
        }
    };
    std::unique_ptr<void, Free> memory_;
    T* data_ = nullptr;
    int64_t count_ = 0;
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
