// The module _ring: header, survey, judge, enter, seek, scan, blank. Every argument is checked here; the core trusts its own.

#include "py/objarray.h"
#include "py/runtime.h"

#include "ring_core.h"

// A device that is read through its method, and the buffer that a whole read fills.
typedef struct {
    mp_obj_t method[2];
    mp_obj_t buffer;
    uint32_t whole;
} device_t;

static bool read_device(void *context, uint32_t addr, uint8_t *to, uint32_t n) {
    device_t *device = context;
    nlr_buf_t nlr;
    if (nlr_push(&nlr) == 0) {
        mp_obj_t args[4] = {device->method[0], device->method[1], mp_obj_new_int_from_uint(addr),
                            n == device->whole ? device->buffer
                                               : mp_obj_new_memoryview('B' | MP_OBJ_ARRAY_TYPECODE_FLAG_RW, n, to)};
        mp_call_method_n_kw(2, 0, args);
        nlr_pop();
        return true;
    }
    mp_obj_t error = MP_OBJ_FROM_PTR(nlr.ret_val);
    if (!mp_obj_is_subclass_fast(MP_OBJ_FROM_PTR(mp_obj_get_type(error)), MP_OBJ_FROM_PTR(&mp_type_OSError))) {
        nlr_jump(nlr.ret_val);
    }
    return false;
}

// A memory-mapped region, or a device; its reads go into `buffer`, of at least `least` bytes.
static byte *get_source(mp_obj_t src, mp_obj_t buffer, uint32_t least, ring_source_t *source, device_t *device) {
    mp_buffer_info_t info;
    mp_get_buffer_raise(buffer, &info, MP_BUFFER_RW);
    if (info.len < least) {
        mp_raise_ValueError(MP_ERROR_TEXT("wrong buffer"));
    }
    byte *to = info.buf;
    uint32_t whole = (uint32_t)info.len;
    *source = (ring_source_t){.map = NULL, .read = read_device, .context = device, .limit = INT32_MAX};
    if (mp_get_buffer(src, &info, MP_BUFFER_READ)) {
        source->map = info.buf;
        source->limit = (uint32_t)info.len;
    } else {
        mp_load_method(src, MP_QSTR_read, device->method);
        device->buffer = buffer;
        device->whole = whole;
    }
    return to;
}

static uint32_t *get_numbers(mp_obj_t numbers, const ring_source_t *source) {
    mp_buffer_info_t info;
    mp_get_buffer_raise(numbers, &info, MP_BUFFER_RW);
    if (info.typecode != 'I' || info.len < RING_NUMBERS * sizeof(uint32_t) || !ring_checked(source, info.buf)) {
        mp_raise_ValueError(MP_ERROR_TEXT("wrong numbers"));
    }
    return info.buf;
}

// header(src, addr, buf) -> what the sector header there is
static mp_obj_t ring_header_(mp_obj_t src, mp_obj_t addr_in, mp_obj_t buf) {
    ring_source_t source;
    device_t device;
    byte *to = get_source(src, buf, RING_SECTOR_HEAD, &source, &device);
    mp_int_t addr = mp_obj_get_int(addr_in);
    if (addr < 0 || source.limit < RING_SECTOR_HEAD || (mp_uint_t)addr > source.limit - RING_SECTOR_HEAD) {
        mp_raise_ValueError(MP_ERROR_TEXT("outside the region"));
    }
    return MP_OBJ_NEW_SMALL_INT(ring_header(&source, (uint32_t)addr, to));
}
static MP_DEFINE_CONST_FUN_OBJ_3(ring_header_obj, ring_header_);

typedef int (*look_t)(const ring_source_t *source, uint8_t *buf, uint32_t *f, uint32_t s);

// What the three have in common: (src, buf, f, s) -> what they say of sector s
static mp_obj_t look(look_t function, const mp_obj_t *args) {
    ring_source_t source;
    device_t device;
    byte *to = get_source(args[0], args[1], RING_SECTOR_HEAD, &source, &device);
    mp_buffer_info_t info;
    mp_get_buffer_raise(args[2], &info, MP_BUFFER_RW);
    const uint32_t *f = info.buf;
    mp_int_t s = mp_obj_get_int(args[3]);
    if (info.typecode != 'I' || info.len < RING_NUMBERS * sizeof(uint32_t) || f[RING_SECTOR] < RING_SECTOR_HEAD ||
        f[RING_LIMIT] > source.limit || s < 0 || (mp_uint_t)s >= f[RING_LIMIT] / f[RING_SECTOR]) {
        mp_raise_ValueError(MP_ERROR_TEXT("wrong numbers"));
    }
    return MP_OBJ_NEW_SMALL_INT(function(&source, to, info.buf, (uint32_t)s));
}

static mp_obj_t ring_survey_(size_t n_args, const mp_obj_t *args) {
    (void)n_args;
    return look(ring_survey, args);
}
static MP_DEFINE_CONST_FUN_OBJ_VAR_BETWEEN(ring_survey_obj, 4, 4, ring_survey_);

static mp_obj_t ring_judge_(size_t n_args, const mp_obj_t *args) {
    (void)n_args;
    return look(ring_judge, args);
}
static MP_DEFINE_CONST_FUN_OBJ_VAR_BETWEEN(ring_judge_obj, 4, 4, ring_judge_);

static mp_obj_t ring_enter_(size_t n_args, const mp_obj_t *args) {
    (void)n_args;
    return look(ring_enter, args);
}
static MP_DEFINE_CONST_FUN_OBJ_VAR_BETWEEN(ring_enter_obj, 4, 4, ring_enter_);

// seek(src, head, f, mode[, kinds]) -> whether there is such a record
static mp_obj_t ring_seek_(size_t n_args, const mp_obj_t *args) {
    ring_source_t source;
    device_t device;
    byte *head = get_source(args[0], args[1], RING_LOADED, &source, &device);
    uint32_t *f = get_numbers(args[2], &source);
    mp_buffer_info_t kinds = {.buf = NULL, .len = 0};
    if (n_args > 4 && args[4] != mp_const_none) {
        mp_get_buffer_raise(args[4], &kinds, MP_BUFFER_READ);
        if (kinds.len == 0) {
            return mp_const_false;
        }
    }
    return mp_obj_new_bool(ring_seek(&source, head, f, mp_obj_get_int(args[3]), kinds.buf, (uint32_t)kinds.len));
}
static MP_DEFINE_CONST_FUN_OBJ_VAR_BETWEEN(ring_seek_obj, 4, 5, ring_seek_);

// scan(src, head, f) -> end of the sector, or what came up before it
static mp_obj_t ring_scan_(mp_obj_t src, mp_obj_t buf, mp_obj_t numbers) {
    ring_source_t source;
    device_t device;
    byte *head = get_source(src, buf, RING_LOADED, &source, &device);
    return MP_OBJ_NEW_SMALL_INT(ring_scan(&source, head, get_numbers(numbers, &source)));
}
static MP_DEFINE_CONST_FUN_OBJ_3(ring_scan_obj, ring_scan_);

// blank(src, head, addr, end) -> whether all bits from addr to end are ones
static mp_obj_t ring_blank_(size_t n_args, const mp_obj_t *args) {
    (void)n_args;
    ring_source_t source;
    device_t device;
    byte *head = get_source(args[0], args[1], RING_LOADED, &source, &device);
    mp_int_t addr = mp_obj_get_int(args[2]);
    mp_int_t end = mp_obj_get_int(args[3]);
    if (addr < 0 || end < addr || (mp_uint_t)end > source.limit) {
        mp_raise_ValueError(MP_ERROR_TEXT("outside the region"));
    }
    return mp_obj_new_bool(ring_blank(&source, head, (uint32_t)addr, (uint32_t)end));
}
static MP_DEFINE_CONST_FUN_OBJ_VAR_BETWEEN(ring_blank_obj, 4, 4, ring_blank_);

static const mp_rom_map_elem_t ring_globals_table[] = {
    {MP_ROM_QSTR(MP_QSTR___name__), MP_ROM_QSTR(MP_QSTR__ring)},
    {MP_ROM_QSTR(MP_QSTR_header), MP_ROM_PTR(&ring_header_obj)},
    {MP_ROM_QSTR(MP_QSTR_survey), MP_ROM_PTR(&ring_survey_obj)},
    {MP_ROM_QSTR(MP_QSTR_judge), MP_ROM_PTR(&ring_judge_obj)},
    {MP_ROM_QSTR(MP_QSTR_enter), MP_ROM_PTR(&ring_enter_obj)},
    {MP_ROM_QSTR(MP_QSTR_seek), MP_ROM_PTR(&ring_seek_obj)},
    {MP_ROM_QSTR(MP_QSTR_scan), MP_ROM_PTR(&ring_scan_obj)},
    {MP_ROM_QSTR(MP_QSTR_blank), MP_ROM_PTR(&ring_blank_obj)},
};
static MP_DEFINE_CONST_DICT(ring_globals, ring_globals_table);

const mp_obj_module_t ring_module = {
    .base = {&mp_type_module},
    .globals = (mp_obj_dict_t *)&ring_globals,
};

MP_REGISTER_MODULE(MP_QSTR__ring, ring_module);
