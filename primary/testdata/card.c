/* A bundle that does what the instruction byte says, well or badly. */
#include "../../bundles/sdk/c/ssp.h"

#ifndef AREA
#define AREA 66000
#endif
static u8 in[AREA], out[AREA];
static u8 state; /* volatile: gone with a reset */

SSP_EXPORT(vpp_abi) i32 abi(void) { return SSP_ABI; }
SSP_EXPORT(ipc_com_main) i64 com_main(void) { return SSP_AREA(in); }
SSP_EXPORT(ipc_main_com) i64 main_com(void) { return SSP_AREA(out); }

static i32 has(const char *key, i32 n) { return nvm_get(key, n, 0, out, 0) >= 0; }

/* It needs its persona, and does not start when "D0" or "D1" says so. */
SSP_EXPORT(on_init) i32 on_init(i32 reason) {
    if (!has("persona", 7)) return -MK_ERROR_INTERNAL;
    if (has(reason == REASON_START ? "D0" : "D1", 2)) return -MK_ERROR_SEVERE;
    return 0;
}

/* A persona with the text "bad" is refused, one with "trap" is fatal, after something was written. */
SSP_EXPORT(on_personalise) i32 on_personalise(i32 len) {
    static const char no[] = "/card/pin\0is bad";
    i32 e = nvm_put("persona", 7, in, len);
    for (i32 i = 0; i + 3 <= len; i++) {
        if (in[i] == 't' && in[i + 1] == 'r' && in[i + 2] == 'a' && in[i + 3] == 'p') __builtin_trap();
        if (in[i] == 'b' && in[i + 1] == 'a' && in[i + 2] == 'd') {
            for (u32 j = 0; j < sizeof no - 1; j++) out[j] = no[j];
            return sizeof no - 1;
        }
    }
    return e;
}

SSP_EXPORT(on_signal) i32 on_signal(i32 bits) {
    if (bits & SIGNAL_RESET) state = 0;
    if (bits & MK_SIGNAL_TIME_OUT) {
        u8 n = 0;
        nvm_get("rings", 5, 0, &n, 1);
        n++;
        ssp_event("ring", 4, &n, 1);
        return nvm_put("rings", 5, &n, 1);
    }
    if (bits & MK_SIGNAL_KILL_REQUESTED) return nvm_put("killed", 6, "", 0);
    return 0;
}

static i32 sw(i32 n, u32 w) {
    out[n] = w >> 8, out[n + 1] = w;
    return n + 2;
}

/* get answers with the value of a key. */
static i32 get(const void *key, i32 klen) {
    i32 n = nvm_get(key, klen, 0, out, sizeof out - 2);
    return n < 0 ? sw(0, 0x6A88) : sw(n, 0x9000);
}

SSP_EXPORT(on_message) i32 on_message(i32 gate, i32 pipe, i32 instruction, i32 len) {
    (void)gate, (void)pipe, (void)instruction;
    u8 *data = in + 5;
    i32 nc = len > 5 ? in[4] : 0;
    if (len > 7 && in[4] == 0) data = in + 7, nc = in[5] << 8 | in[6];
    switch (in[1]) {
    case 0xB0: return get("v", 1);
    case 0xD6: return sw(0, nvm_put("v", 1, data, nc) ? 0x6A84 : 0x9000);
    case 0xCA: return get(data, nc);                     /* of the key in the data */
    case 0xDA: return sw(0, nvm_put(data, nc, "", 0) ? 0x6A84 : 0x9000);
    case 0x0E: out[0] = ++state; return sw(1, 0x9000);   /* state in memory */
    case 0x84: vre_random(out, 8); return sw(8, 0x9000);
    case 0x08: { i64 t = mk_get_time(); for (i32 i = 0; i < 8; i++) out[i] = t >> (56 - 8 * i); return sw(8, 0x9000); }
    case 0x0A: mk_wait_signal(in[2] << 8 | in[3]); return sw(0, 0x9000);
    case 0x0C: ssp_event("told", 4, data, nc); ssp_log(LOG_INFO, "told", 4); return sw(0, 0x9000);
    case 0xF0: nvm_put("v", 1, "x", 1); __builtin_trap();
    case 0xF1: for (volatile i32 i = 0;; i++);
    case 0xF2: return sizeof out + 1;
    case 0xF3: return 1;                                 /* no status word */
    case 0xF4: nvm_put("v", 1, "x", 1); return -MK_ERROR_ACCESS_DENIED;
    case 0xF5: nvm_put("v", 1, "early", 5); mk_commit(); nvm_put("v", 1, "late", 4); __builtin_trap();
    case 0xF6: nvm_get("v", 1, 0, (void *)0x7FFFFFF0, 10); return 0;
    case 0xF7: mk_wait_signal(100); __builtin_trap();
    case 0xF8: return -2000;
    }
    return sw(0, 0x6D00);
}
