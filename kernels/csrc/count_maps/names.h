// A table of names: open addressing over names that lie one behind the other.
#pragma once
#include <cstdint>
#include <cstring>
#include <shared_mutex>
#include <vector>

struct c2t_names {
    explicit c2t_names(uint64_t seed) : seed_(seed), slots_(1 << 12, -1) {}

    // Number of a name; -1 if it is not there. The caller holds `mutex`.
    int32_t find(const char* name, size_t bytes) const {
        return slots_[slot(name, bytes)];
    }

    // The caller holds `mutex` alone. If memory runs out, the table is as it was.
    void add(const char* name, size_t bytes) {
        if (find(name, bytes) >= 0) return;
        if (2 * (size() + 1) > slots_.size()) grow();
        if (ends_.size() == ends_.capacity()) ends_.reserve(2 * ends_.size());
        const int32_t number = static_cast<int32_t>(size());
        text_.insert(text_.end(), name, name + bytes);  // the last that may throw
        ends_.push_back(text_.size());
        slots_[slot(name, bytes)] = number;
    }

    size_t size() const { return ends_.size() - 1; }

    std::shared_mutex mutex;

private:
    size_t slot(const char* name, size_t bytes) const {
        const size_t mask = slots_.size() - 1;
        size_t at = hash(name, bytes) & mask;
        while (slots_[at] >= 0 && !is(slots_[at], name, bytes)) at = (at + 1) & mask;
        return at;
    }

    bool is(int32_t number, const char* name, size_t bytes) const {
        const size_t begin = ends_[number];
        return ends_[number + 1] - begin == bytes && std::memcmp(text_.data() + begin, name, bytes) == 0;
    }

    uint64_t hash(const char* name, size_t bytes) const {
        uint64_t state = seed_ ^ (bytes * 0x9E3779B97F4A7C15u);
        while (bytes) {
            uint64_t piece = 0;
            const size_t now = bytes < 8 ? bytes : 8;
            std::memcpy(&piece, name, now);
            state = (state ^ piece) * 0xD6E8FEB86659FD93u;
            state ^= state >> 32;
            name += now;
            bytes -= now;
        }
        state *= 0xD6E8FEB86659FD93u;
        return state ^ state >> 32;
    }

    void grow() {
        std::vector<int32_t> more(2 * slots_.size(), -1);
        slots_.swap(more);
        for (size_t n = 0; n < size(); ++n) {
            slots_[slot(text_.data() + ends_[n], ends_[n + 1] - ends_[n])] = static_cast<int32_t>(n);
        }
    }

    uint64_t seed_;
    std::vector<int32_t> slots_;  // numbers of names; a power of two, at most half full
    std::vector<char> text_;
    std::vector<size_t> ends_{0};  // where each name ends, behind a 0
};
