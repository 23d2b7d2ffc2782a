// littlefs with smaller caches: MicroPython makes them four of the flash's pages, two of them for the file
// system and one for each open file. Two pages are the least that reads what others wrote: a file of up to
// an eighth of a sector, 512 bytes, lies among the names, and is read into its cache as a whole.

#include "py/mpconfig.h"
#include "py/misc.h"

#include "lib/littlefs/lfs2.h"

#define SMALLER (512)

int __real_lfs2_mount(lfs2_t *lfs, const struct lfs2_config *config);
int __real_lfs2_format(lfs2_t *lfs, const struct lfs2_config *config);
int __wrap_lfs2_mount(lfs2_t *lfs, const struct lfs2_config *config);
int __wrap_lfs2_format(lfs2_t *lfs, const struct lfs2_config *config);

// The caller owns the configuration, and it is no constant there (extmod/vfs_lfsx.c).
static void shrink(struct lfs2_config *config) {
    // What else littlefs asks of the size: a multiple of both units, and a part of a sector.
    if (config->cache_size <= SMALLER || SMALLER < config->block_size / 8 || config->block_size % SMALLER
        || SMALLER % config->read_size || SMALLER % config->prog_size) {
        return;
    }
    config->read_buffer = m_renew(uint8_t, config->read_buffer, config->cache_size, SMALLER);
    config->prog_buffer = m_renew(uint8_t, config->prog_buffer, config->cache_size, SMALLER);
    config->cache_size = SMALLER;
}

int __wrap_lfs2_mount(lfs2_t *lfs, const struct lfs2_config *config) {
    shrink((struct lfs2_config *)config);
    return __real_lfs2_mount(lfs, config);
}

int __wrap_lfs2_format(lfs2_t *lfs, const struct lfs2_config *config) {
    shrink((struct lfs2_config *)config);
    return __real_lfs2_format(lfs, config);
}
