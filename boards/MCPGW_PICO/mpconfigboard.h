// Raspberry Pi Pico as an MCP gateway.

#define MICROPY_HW_BOARD_NAME                   "mcp_gw on a Raspberry Pi Pico"

// Flash, from profile.json: firmware | ROM file system | littlefs | queue.  rp2.Flash() covers
// littlefs and queue; the ROM file system lies right below it, where the port puts it.
#if MCPGW_FIRMWARE_START != 0 \
    || MCPGW_ROM_START != MCPGW_FIRMWARE_BYTES \
    || MCPGW_LITTLEFS_START != MCPGW_ROM_START + MCPGW_ROM_BYTES \
    || MCPGW_QUEUE_START != MCPGW_LITTLEFS_START + MCPGW_LITTLEFS_BYTES \
    || MCPGW_QUEUE_START + MCPGW_QUEUE_BYTES != PICO_FLASH_SIZE_BYTES
#error "profile.json: the flash regions must follow each other and fill the flash"
#endif
#define MICROPY_HW_ROMFS_BYTES                  (MCPGW_ROM_BYTES)
#define MICROPY_HW_FLASH_STORAGE_BYTES          (MCPGW_LITTLEFS_BYTES + MCPGW_QUEUE_BYTES)

// A whole message may arrive while Python is busy or the flash is being erased; USB then holds the
// host off, but every stop costs a host poll.  An answer should leave in one go as well.
#define MICROPY_HW_STDIN_BUFFER_LEN             (1920)
#define CFG_TUD_CDC_RX_BUFSIZE                  (512)
#define CFG_TUD_CDC_TX_BUFSIZE                  (1024)

// MicroPython's own VID and PID stay: host tools and operating systems know them.
#define MICROPY_HW_USB_MANUFACTURER_STRING      "mcp_gw"
#define MICROPY_HW_USB_PRODUCT_FS_STRING        "MCP gateway"
#define MICROPY_HW_USB_CDC_INTERFACE_STRING     "MCP gateway"

// Frames of Python functions on a stack of their own (firmware/rp2/pystack.c) instead of the heap: a
// call of a tool takes half the time, and always the same.  A thread on the other core gets 512 bytes.
#define MICROPY_ENABLE_PYSTACK                  (1)
#define MICROPY_BOARD_EARLY_INIT()              mcpgw_pystack_init()
void mcpgw_pystack_init(void);

// Objects whose children are still to be marked. With the port's 64 a gateway's do not fit; the collection
// then looks through the whole heap again and takes 7 ms rather than 3.
#define MICROPY_ALLOC_GC_STACK_SIZE             (128)

// Batches of queued calls are compressed.
#define MICROPY_PY_DEFLATE_COMPRESS             (1)
