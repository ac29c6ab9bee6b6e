// The tile registers of AMX. The including file is compiled for it.
//
// The intrinsics take the number of a register as it is written: no loop can go over registers.

#define C2T_TILES 1

// The compiler does not know that loads of tiles, and of their configuration, read memory.
inline void written() { __asm__ volatile("" ::: "memory"); }

// The tile registers of a thread, as long as this object: eight of 16 rows and 64 bytes. Threads that keep them make the
// system save 8 KB more whenever it takes their core.
class Tiles {
public:
    Tiles() {
        alignas(64) uint8_t config[64] = {1};
        for (int i = 0; i < 8; ++i) {
            config[16 + 2 * i] = 64;
            config[48 + i] = 16;
        }
        written();
        _tile_loadconfig(config);
    }
    ~Tiles() { _tile_release(); }
    Tiles(const Tiles&) = delete;
    Tiles& operator=(const Tiles&) = delete;
};
