// The module _mcpscan: scan, find, move, gather, read, write. Every argument is checked here; the
// core trusts its own.

#include <string.h>

#include "py/objarray.h"
#include "py/runtime.h"

#include "mcpscan_console.h"
#include "mcpscan_core.h"

// The bytes buf[start:end], or ValueError if they do not all exist.
static byte *get_range(mp_obj_t buf, mp_obj_t start_in, mp_obj_t end_in, mp_uint_t flags, size_t *start,
    size_t *end) {
    mp_buffer_info_t info;
    mp_get_buffer_raise(buf, &info, flags);
    mp_int_t from = mp_obj_get_int(start_in);
    mp_int_t to = mp_obj_get_int(end_in);
    if (from < 0 || to < from || (size_t)to > info.len || to > INT32_MAX) {
        mp_raise_ValueError(MP_ERROR_TEXT("range outside buffer"));
    }
    *start = (size_t)from;
    *end = (size_t)to;
    // An empty bytearray may have no memory at all.
    return info.buf != NULL ? info.buf : (byte *)"";
}

// scan(buf, start, end, spans, max_depth) -> kind of message or error code; see mcpscan_core.h
static mp_obj_t mcpscan_scan(size_t n_args, const mp_obj_t *args) {
    (void)n_args;
    size_t start, end;
    const byte *text = get_range(args[0], args[1], args[2], MP_BUFFER_READ, &start, &end);
    mp_buffer_info_t spans;
    mp_get_buffer_raise(args[3], &spans, MP_BUFFER_RW);
    if (spans.typecode != 'i' || spans.len < MCPSCAN_SPANS_LEN * sizeof(int32_t)) {
        mp_raise_ValueError(MP_ERROR_TEXT("spans too small or not array('i')"));
    }
    mp_int_t max_depth = mp_obj_get_int(args[4]);
    if (max_depth < 1 || max_depth > MCPSCAN_DEPTH_LIMIT) {
        mp_raise_ValueError(MP_ERROR_TEXT("max_depth"));
    }
    mcpscan_t state;
    int kind = mcpscan_run(&state, text, (uint32_t)start, (uint32_t)end, spans.buf, (unsigned)max_depth);
    return MP_OBJ_NEW_SMALL_INT(kind);
}
static MP_DEFINE_CONST_FUN_OBJ_VAR_BETWEEN(mcpscan_scan_obj, 5, 5, mcpscan_scan);

// find(buf, byte, start, end) -> index of the first such byte, or -1
static mp_obj_t mcpscan_find(size_t n_args, const mp_obj_t *args) {
    (void)n_args;
    size_t start, end;
    const byte *text = get_range(args[0], args[2], args[3], MP_BUFFER_READ, &start, &end);
    mp_int_t value = mp_obj_get_int(args[1]);
    if (value < 0 || value > 255) {
        mp_raise_ValueError(MP_ERROR_TEXT("not a byte"));
    }
    const byte *at = memchr(text + start, (int)value, end - start);
    return MP_OBJ_NEW_SMALL_INT(at != NULL ? at - text : -1);
}
static MP_DEFINE_CONST_FUN_OBJ_VAR_BETWEEN(mcpscan_find_obj, 4, 4, mcpscan_find);

// move(buf, start, end): copy buf[start:end] down to buf[0:end - start], without allocating
static mp_obj_t mcpscan_move(mp_obj_t buf, mp_obj_t start_in, mp_obj_t end_in) {
    size_t start, end;
    byte *text = get_range(buf, start_in, end_in, MP_BUFFER_RW, &start, &end);
    memmove(text, text + start, end - start);
    return mp_const_none;
}
static MP_DEFINE_CONST_FUN_OBJ_3(mcpscan_move_obj, mcpscan_move);

// gather(parts, buf, at) -> index after the last part: copies the bytes-like items of the list or tuple
// `parts` into buf[at:], one behind the other; -1 if they do not fit, and then buf may hold some of them
static mp_obj_t mcpscan_gather(mp_obj_t parts_in, mp_obj_t buf, mp_obj_t at_in) {
    size_t n;
    mp_obj_t *parts;
    mp_obj_get_array(parts_in, &n, &parts);
    mp_buffer_info_t to;
    mp_get_buffer_raise(buf, &to, MP_BUFFER_RW);
    mp_int_t at = mp_obj_get_int(at_in);
    if (at < 0 || (size_t)at > to.len) {
        mp_raise_ValueError(MP_ERROR_TEXT("outside the buffer"));
    }
    for (size_t i = 0; i < n; i++) {
        mp_buffer_info_t part;
        mp_get_buffer_raise(parts[i], &part, MP_BUFFER_READ);
        if (part.len > to.len - (size_t)at) {
            return MP_OBJ_NEW_SMALL_INT(-1);
        }
        if (part.len > 0) { // an empty bytearray may have no memory at all
            memmove((byte *)to.buf + at, part.buf, part.len);
            at += part.len;
        }
    }
    return MP_OBJ_NEW_SMALL_INT(at);
}
static MP_DEFINE_CONST_FUN_OBJ_3(mcpscan_gather_obj, mcpscan_gather);

#if MCPSCAN_CONSOLE

// read(buf, start, end) -> number of bytes read from the console into buf[start:end]
static mp_obj_t mcpscan_read(mp_obj_t buf, mp_obj_t start_in, mp_obj_t end_in) {
    // Raises Ctrl-C, lets the port's USB stack run; before the buffer's address is taken, since Python
    // code may run here.
    mp_event_handle_nowait();
    size_t start, end;
    byte *text = get_range(buf, start_in, end_in, MP_BUFFER_RW, &start, &end);
    return MP_OBJ_NEW_SMALL_INT(mcpscan_console_read(text + start, end - start));
}
static MP_DEFINE_CONST_FUN_OBJ_3(mcpscan_read_obj, mcpscan_read);

// write(buf, start, end) -> number of bytes of buf[start:end] that went out
static mp_obj_t mcpscan_write(mp_obj_t buf, mp_obj_t start_in, mp_obj_t end_in) {
    size_t start, end;
    const byte *text = get_range(buf, start_in, end_in, MP_BUFFER_READ, &start, &end);
    return mp_obj_new_int_from_uint(mcpscan_console_write(text + start, end - start));
}
static MP_DEFINE_CONST_FUN_OBJ_3(mcpscan_write_obj, mcpscan_write);

#endif

static const mp_rom_map_elem_t mcpscan_globals_table[] = {
    { MP_ROM_QSTR(MP_QSTR___name__), MP_ROM_QSTR(MP_QSTR__mcpscan) },
    { MP_ROM_QSTR(MP_QSTR_scan), MP_ROM_PTR(&mcpscan_scan_obj) },
    { MP_ROM_QSTR(MP_QSTR_find), MP_ROM_PTR(&mcpscan_find_obj) },
    { MP_ROM_QSTR(MP_QSTR_move), MP_ROM_PTR(&mcpscan_move_obj) },
    { MP_ROM_QSTR(MP_QSTR_gather), MP_ROM_PTR(&mcpscan_gather_obj) },
    #if MCPSCAN_CONSOLE
    { MP_ROM_QSTR(MP_QSTR_read), MP_ROM_PTR(&mcpscan_read_obj) },
    { MP_ROM_QSTR(MP_QSTR_write), MP_ROM_PTR(&mcpscan_write_obj) },
    #endif
};
static MP_DEFINE_CONST_DICT(mcpscan_globals, mcpscan_globals_table);

const mp_obj_module_t mcpscan_module = {
    .base = { &mp_type_module },
    .globals = (mp_obj_dict_t *)&mcpscan_globals,
};

MP_REGISTER_MODULE(MP_QSTR__mcpscan, mcpscan_module);
