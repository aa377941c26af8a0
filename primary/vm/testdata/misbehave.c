/* One guest that does what its first byte says: each is a way to misbehave. */
#include "guest.h"

static volatile u32 sink;
static volatile i32 nought;
static u8 heap[512 << 10];

void *memset(void *to, int c, unsigned long n) { return __builtin_memset(to, c, n); }

static u32 fib(u32 n) { return n < 2 ? n : fib(n - 1) + fib(n - 2); }

__attribute__((noinline)) static u32 dig(u32 n) {
    volatile u32 room[64];
    room[n & 63] = n;
    return nought == 1 ? 0 : dig(n + 1) + room[n & 63];
}

SSP_EXPORT(on_personalise) i32 on_personalise(i32 len) {
    static const char no[] = "/pin\0is not a number";
    if (len == 0) return 0;
    nvm_put("k", 1, in, len);
    switch (in[0]) {
    case 'r':
        for (u32 i = 0; i < sizeof no; i++) out[i] = no[i];
        return sizeof no - 1;
    case 'n': out[0] = out[1] = out[2] = 'x'; return 3; /* a refusal without a zero byte */
    case 'l': return 5000;
    case 'e': return -MK_ERROR_NO_SPACE;
    }
    return 0;
}

SSP_EXPORT(on_message) i32 on_message(i32 gate, i32 pipe, i32 instruction, i32 len) {
    (void)gate, (void)pipe, (void)instruction;
    switch (in[0]) {
    case 'e': /* echo */
        for (i32 i = 0; i < len; i++) out[i] = in[i];
        return len;
    case 's': for (;;) sink++;                     /* spin */
    case 'b': do { sink++; } while (nought == 0);    /* spin with a condition */
    case 'B': for (;;) __builtin_memset(heap, sink++, sizeof heap); /* spin with long steps */
    case 'f': return fib(60);                      /* spin by calls, no loop */
    case 'd': return dig(0);                       /* recursion without an end */
    case 't': __builtin_trap();
    case 'z': return len / nought;                  /* division by zero */
    case 'w': *(volatile u8 *)0x7FFFFFF0 = 1; return 0;
    case 'l': return 4097;                         /* answer too long */
    case 'm': return 0x7FFFFFFF;
    case 'n': return -1000;                        /* neither length nor error */
    case 'u': return -MK_ERROR_UNKNOWN_ID;
    case 'p': return nvm_get("k", 1, 0, (void *)0x7FFFFF00, 100);
    case 'q': return nvm_put("k", 1, out, 0x7FFFFFFF);
    case 'k': return nvm_put("k", 0, out, 1);      /* empty key */
    case 'K': return nvm_put(out, 256, out, 1);    /* key too long */
    case 'o': return nvm_get("k", 1, -1, out, 1);  /* negative offset */
    case 'a': return mk_wait_signal(-1);
    case 'v': return ssp_event("", 0, out, 0);
    case 'r': return vre_random(out, 8) ? -MK_ERROR_INTERNAL : 8;
    case 'g': return nvm_get("k", 1, 0, out, 16);
    case 'G': for (i32 i = 0; i < 100; i++) nvm_get("k", 1, 0, out, 16); return 0;
    case 'P': return nvm_put("k", 1, in + 1, len - 1);
    case 'W': return nvm_write("k", 1, 1, in + 1, len - 1);
    case 'D': return nvm_delete("k", 1);
    case 'N': return nvm_next("", 0, out, 16);
    case 'x': /* writes, then ends in one way or another */
        nvm_put("k", 1, in + 2, len - 2);
        switch (in[1]) {
        case 'o': return 0;
        case 'c': mk_commit(); nvm_put("k", 1, "lost", 4); __builtin_trap();
        case 'r': return mk_rollback();
        case 't': __builtin_trap();
        case 's': for (;;) sink++;
        case 'l': return 4097;
        case 'p': return nvm_get("k", 1, 0, (void *)0x7FFFFF00, 100);
        }
        return -MK_ERROR_ACCESS_DENIED;
    case 'c': return mk_commit();
    case 'R': return mk_rollback();
    case 'E': nvm_get("nothing", 7, 0, 0, 0); return mk_get_error();
    case 'T': { i64 t = mk_get_time(); for (i32 i = 0; i < 8; i++) out[i] = t >> (56 - 8 * i); return 8; }
    case 'M': { /* all the memory there is: how many pages did it get? */
        u32 n = 0;
        while (__builtin_wasm_memory_grow(0, 1) != -1UL) n++;
        out[0] = n >> 8, out[1] = n;
        return 2;
    }
    case '^': /* base, exponent, modulus: one byte each; the result may lie over the base */
        if (vre_mod_exp(in + 1, in + 1, 1, in + 2, 1, in + 3, 1)) return -MK_ERROR_ILLEGAL_PARAMETER;
        out[0] = in[1];
        return 1;
    case '1': return vre_mod_exp((void *)0x7FFFFF00, in, 1, in, 1, in, 1);
    case '2': return vre_mod_exp(out, in, 1, in, 1, in, 0x7FFFFFFF);
    case '3': return vre_mod_exp(out, in, 1, in, 1, in + 1, 600); /* a modulus of more than 4096 bits */
    case 'y': /* bits (2), seed; both primes */
        return vre_rsa_generate(in + 3, len - 3, in[1] << 8 | in[2], 3, out, 64) ? -MK_ERROR_ILLEGAL_PARAMETER : 64;
    case '4': return vre_rsa_generate(0, 0, 0x7FFFFFFF, 3, out, 64);
    case '5': return vre_rsa_generate(0, 0, -1, 3, out, 64);
    case '6': return vre_rsa_generate(0, 0, 512, 4, out, 64);
    case '7': return vre_rsa_generate(in, 300, 512, 3, out, 64);
    case '8': return vre_rsa_generate(in, 1, 512, 3, (void *)0x7FFFFF00, 64);
    case 'C': /* curves */ {
        u8 key[32] = {0}, sig[64], x[32];
        key[31] = 1;
        switch (in[1]) {
        case 's': /* the base point, which is the public key of 1, after it signed in[2..33] */
            if (vre_ec_public(12, key, 32, out, 65) || vre_ec_sign(12, key, 32, in + 2, 32, sig, 64)) return -MK_ERROR_ILLEGAL_PARAMETER;
            if (vre_ec_verify(12, out, 65, in + 2, 32, sig, 64) != 1) return -MK_ERROR_ACCESS_DENIED;
            sig[0]++;
            if (vre_ec_verify(12, out, 65, in + 2, 32, sig, 64) != 0) return -MK_ERROR_ACCESS_DENIED;
            if (vre_ec_dh(12, key, 32, out, 65, x, 32)) return -MK_ERROR_ILLEGAL_PARAMETER;
            for (i32 i = 0; i < 32; i++) if (x[i] != out[1 + i]) return -MK_ERROR_ACCESS_DENIED;
            return 65;
        case 'c': return vre_ec_public(9, key, 32, out, 65);      /* no such curve */
        case 'o': return vre_ec_public(12, key, 32, out, 64);     /* no room */
        case 'k': return vre_ec_public(12, key, 31, out, 65);     /* a short key */
        case 'd': return vre_ec_sign(12, key, 32, in, 31, sig, 64); /* no digest */
        case 'h': return vre_ec_dh(12, key, 32, key, 32, x, 32);  /* no point */
        case 'v': return vre_ec_verify(12, key, 32, in, 32, sig, 64);
        case 'p': return vre_ec_sign(12, (void *)0x7FFFFF00, 32, in, 32, sig, 64);
        }
        return -MK_ERROR_UNKNOWN_ID;
    }
    case 'L': for (i32 i = 0; i < 1000; i++) ssp_log(LOG_INFO, "0123456789", 10); return 0;
    }
    return -MK_ERROR_ILLEGAL_PARAMETER;
}
