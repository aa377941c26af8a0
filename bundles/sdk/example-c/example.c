/*
 * The first bundle in C: the commands of bundles/sdk/example, without a C
 * library, for the AID F0 53 53 50 45 4D 55 02.
 *
 *   SELECT   00 A4 04 00 08 AID   FCI with the AID
 *   COUNT    80 10 00 00 04       adds 1, gives the counter
 *   READ     80 12 00 00 04       gives the counter
 *   CLEAR    80 14 00 00          sets it to 0; wants the PIN; event counter.cleared
 *   VERIFY   00 20 00 01 Lc PIN   63Cx when wrong, 6983 when blocked
 *   RANDOM   00 84 00 00 Le       GET CHALLENGE
 *   LATER    80 16 hi lo          counts by itself after hi lo seconds; event counter.later
 *
 * It has no persona: on_init writes the first state. Only the basic channel is
 * served.
 */
#include "../c/ssp.h"

static u8 in[4096];  /* IPC COM to MAIN: the platform writes */
static u8 out[4096]; /* IPC MAIN to COM: the bundle writes */

static const u8 aid[8] = {0xF0, 'S', 'S', 'P', 'E', 'M', 'U', 0x02};
static const u8 pin[4] = {'1', '2', '3', '4'};
enum { TRIES = 3 };

#define KEY(name) name, (i32)sizeof(name) - 1
#define COUNTER KEY("counter")
#define PIN_TRIES KEY("pin.tries")

static int selected, verified; /* volatile state */

void *memcpy(void *to, const void *from, unsigned long n) {
    u8 *t = to;
    const u8 *f = from;
    while (n--) *t++ = *f++;
    return to;
}

static int same(const u8 *a, const u8 *b, u32 n) {
    u8 diff = 0;
    while (n--) diff |= *a++ ^ *b++;
    return diff == 0;
}

SSP_EXPORT(vpp_abi) i32 abi(void) { return SSP_ABI; }
SSP_EXPORT(ipc_com_main) i64 com_main(void) { return SSP_AREA(in); }
SSP_EXPORT(ipc_main_com) i64 main_com(void) { return SSP_AREA(out); }

SSP_EXPORT(on_init) i32 init(i32 reason) {
    static const u8 zero[4];
    static const u8 tries = TRIES;
    i32 err;
    (void)reason;
    selected = verified = 0;
    if (nvm_get(COUNTER, 0, 0, 0) != -MK_ERROR_UNKNOWN_ID) return 0;
    err = nvm_put(COUNTER, zero, sizeof zero);
    return err ? err : nvm_put(PIN_TRIES, &tries, 1);
}

SSP_EXPORT(on_personalise) i32 personalise(i32 len) {
    (void)len;
    return 0; /* nothing of it is taken from a persona */
}

static i32 answer(u32 n, u16 sw) {
    out[n] = sw >> 8;
    out[n + 1] = sw & 0xFF;
    return n + 2;
}

static i32 read_counter(void) {
    if (nvm_get(COUNTER, 0, out, 4) != 4) return answer(0, 0x6581);
    return answer(4, 0x9000);
}

static u16 count(void) {
    u8 v[4];
    u32 n;
    if (nvm_get(COUNTER, 0, v, 4) != 4) return 0x6581;
    n = ((u32)v[0] << 24 | v[1] << 16 | v[2] << 8 | v[3]) + 1;
    if (n == 0) return 0x6985;
    v[0] = n >> 24, v[1] = n >> 16, v[2] = n >> 8, v[3] = n;
    return nvm_write(COUNTER, 0, v, 4) ? 0x6581 : 0x9000;
}

/* The try is counted, and is on the medium, before the comparison. */
static i32 verify(const u8 *data, u32 n) {
    u8 left;
    const u8 most = TRIES;
    if (nvm_get(PIN_TRIES, 0, &left, 1) != 1) return answer(0, 0x6581);
    if (left == 0) return answer(0, 0x6983);
    if (n == 0) return answer(0, verified ? 0x9000 : 0x63C0 | left);
    verified = 0;
    left--;
    if (nvm_write(PIN_TRIES, 0, &left, 1) || mk_commit()) return answer(0, 0x6581);
    if (n != sizeof pin || !same(data, pin, n)) {
        if (left == 0) ssp_event(KEY("pin.blocked"), 0, 0);
        return answer(0, 0x63C0 | left);
    }
    if (nvm_write(PIN_TRIES, 0, &most, 1)) return answer(0, 0x6581);
    verified = 1;
    return answer(0, 0x9000);
}

static i32 select(const u8 *name, u32 n) {
    if (n == 0 || n > sizeof aid || !same(name, aid, n)) return answer(0, 0x6A82);
    selected = 1, verified = 0;
    out[0] = 0x6F, out[1] = 2 + sizeof aid, out[2] = 0x84, out[3] = sizeof aid;
    memcpy(out + 4, aid, sizeof aid);
    return answer(4 + sizeof aid, 0x9000);
}

/* APDUs arrive whole and well-formed: the platform checks Lc and Le. */
SSP_EXPORT(on_message) i32 message(i32 gate, i32 pipe, i32 instruction, i32 len) {
    const u8 cla = in[0], ins = in[1];
    const u8 *data = in + 5;
    u32 nc = 0;
    (void)pipe, (void)instruction;
    if (gate != GATE_UICC_APDU) return -MK_ERROR_UNKNOWN_ID;
    if (len > 5 && in[4] == 0 && len > 7) return answer(0, 0x6700); /* no extended data here */
    if (len > 5) nc = in[4];
    if (cla == 0x00 && ins == 0xA4 && in[2] == 0x04) return select(data, nc);
    if (cla & 0x0F) return answer(0, 0x6881);
    if (cla != 0x00 && cla != 0x80) return answer(0, 0x6E00);
    if (!selected) return answer(0, ins == 0xA4 ? 0x6A82 : 0x6985);
    switch (cla << 8 | ins) {
    case 0x0020:
        if (in[2] != 0 || in[3] != 1) return answer(0, 0x6A88);
        return verify(data, nc);
    case 0x0084:
        if (len != 5) return answer(0, 0x6700);
        nc = in[4] ? in[4] : 256;
        if (vre_random(out, nc)) return answer(0, 0x6581);
        return answer(nc, 0x9000);
    case 0x8010: {
        u16 sw = count();
        return sw == 0x9000 ? read_counter() : answer(0, sw);
    }
    case 0x8012:
        return read_counter();
    case 0x8014: {
        static const u8 zero[4];
        if (!verified) return answer(0, 0x6982);
        if (nvm_write(COUNTER, 0, zero, 4)) return answer(0, 0x6581);
        ssp_event(KEY("counter.cleared"), 0, 0);
        return answer(0, 0x9000);
    }
    case 0x8016:
        mk_wait_signal(1000 * (i64)(in[2] << 8 | in[3]));
        return answer(0, 0x9000);
    }
    return answer(0, 0x6D00);
}

SSP_EXPORT(on_signal) i32 on_signal(i32 bitmap) {
    if (bitmap & SIGNAL_RESET) {
        selected = verified = 0;
        mk_wait_signal(0);
    }
    if (bitmap & MK_SIGNAL_TIME_OUT && count() == 0x9000) ssp_event(KEY("counter.later"), 0, 0);
    return 0;
}
