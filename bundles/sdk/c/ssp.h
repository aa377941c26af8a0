/*
 * ssp.h: bundle ABI 1.3 of sspemu for C, without a C library.
 *
 *   clang --target=wasm32 -O2 -nostdlib -Wl,--no-entry -o bundle.wasm *.c
 *
 * The reference is docs/abi.md; names and numbers are those of GlobalPlatform
 * VPP where it has a counterpart. All integers are little-endian, pointers are
 * offsets in the memory of the bundle.
 */
#ifndef SSP_H
#define SSP_H

typedef unsigned char u8;
typedef unsigned short u16;
typedef unsigned int u32;
typedef int i32;
typedef unsigned long long u64;
typedef long long i64;

#define SSP_ABI 0x0103

/* Errors, VPP table 7-12; a function returns them as negative numbers. */
enum {
    MK_ERROR_NONE = 0,
    MK_ERROR_UNKNOWN_UUID = 1,
    MK_ERROR_SEVERE = 2,
    MK_ERROR_ILLEGAL_PARAMETER = 3,
    MK_ERROR_UNKNOWN_ID = 4,
    MK_ERROR_UNKNOWN_HANDLE = 5,
    MK_ERROR_UNKNOWN_PRIORITY = 6,
    MK_ERROR_ACCESS_DENIED = 7,
    MK_ERROR_INTERNAL = 8,
    MK_ERROR_HANDLE_NOT_ACCESSED = 9,
    MK_ERROR_GET_ERROR_HANDLE_NOT_A_PROCESS = 10,
    MK_ERROR_NO_SPACE = 32, /* ours, on VENDOR_BASE: the NVM quota is used up */
    MK_ERROR_NO_CREDIT = 33 /* ours: the other end of the pipe has to read first */
};

/* Signals, VPP tables 7-8 and 7-14; SIGNAL_RESET is ours. */
enum {
    MK_SIGNAL_TIME_OUT = 0x01,
    MK_SIGNAL_ERROR = 0x02,
    MK_SIGNAL_EXCEPTION = 0x04,
    MK_SIGNAL_KILL_REQUESTED = 0x10,
    SIGNAL_RESET = 0x80
};

/* Gates of on_message, reasons of on_init, levels of log. */
enum { GATE_UICC_APDU = 1, GATE_TCP = 2, GATE_UDP = 3, GATE_FILES = 4 };

/* Instructions at the TCP and UDP gates, and at the file system gate. */
enum { SSP_OPENED = 1, SSP_DATA = 2, SSP_CREDIT = 3, SSP_CLOSED = 4 };
enum { FILE_LIST = 1, FILE_READ = 2, FILE_WRITE = 3 };
enum { REASON_START = 0, REASON_RESTART = 1 };
enum { LOG_DEBUG = 0, LOG_INFO = 1, LOG_WARN = 2, LOG_ERROR = 3 };

#define SSP_IMPORT(name) __attribute__((import_module("vpp"), import_name(#name))) extern
#define SSP_EXPORT(name) __attribute__((export_name(#name)))

/* Kernel */
SSP_IMPORT(mk_get_time) i64 mk_get_time(void);
SSP_IMPORT(mk_get_error) i32 mk_get_error(void);
SSP_IMPORT(mk_commit) i32 mk_commit(void);
SSP_IMPORT(mk_rollback) i32 mk_rollback(void);
SSP_IMPORT(mk_wait_signal) i32 mk_wait_signal(i64 ticks);

/* Non-volatile memory */
SSP_IMPORT(nvm_get) i32 nvm_get(const void *key, i32 klen, i32 off, void *buf, i32 blen);
SSP_IMPORT(nvm_put) i32 nvm_put(const void *key, i32 klen, const void *val, i32 vlen);
SSP_IMPORT(nvm_write) i32 nvm_write(const void *key, i32 klen, i32 off, const void *val, i32 vlen);
SSP_IMPORT(nvm_delete) i32 nvm_delete(const void *key, i32 klen);
SSP_IMPORT(nvm_next) i32 nvm_next(const void *key, i32 klen, void *buf, i32 blen);

/* Services */
SSP_IMPORT(vre_random) i32 vre_random(void *buf, i32 len);
/* dst (mlen bytes) = base^exp mod m, big-endian; since 1.2 */
SSP_IMPORT(vre_mod_exp) i32 vre_mod_exp(void *dst, const void *base, i32 blen, const void *exp, i32 elen, const void *m, i32 mlen);
/* primes p, q of an RSA key into dst, (bits/2 rounded up to bytes) each; since 1.2 */
SSP_IMPORT(vre_rsa_generate) i32 vre_rsa_generate(const void *seed, i32 slen, i32 bits, i32 e, void *dst, i32 dlen);
/* elliptic curves, by the numbers of docs/abi.md (12 P-256, 13 brainpoolP256r1, 15 P-384 ...); since 1.3 */
SSP_IMPORT(vre_ec_public) i32 vre_ec_public(i32 curve, const void *key, i32 klen, void *dst, i32 dlen);
SSP_IMPORT(vre_ec_dh) i32 vre_ec_dh(i32 curve, const void *key, i32 klen, const void *point, i32 plen, void *dst, i32 dlen);
SSP_IMPORT(vre_ec_sign) i32 vre_ec_sign(i32 curve, const void *key, i32 klen, const void *digest, i32 hlen, void *dst, i32 dlen);
/* 1: the signature is right, 0: it is not */
SSP_IMPORT(vre_ec_verify) i32 vre_ec_verify(i32 curve, const void *point, i32 plen, const void *digest, i32 hlen, const void *sig, i32 slen);
SSP_IMPORT(ssp_class) i32 ssp_class(void);
SSP_IMPORT(log) i32 ssp_log(i32 level, const void *text, i32 len);
SSP_IMPORT(event) i32 ssp_event(const void *name, i32 nlen, const void *data, i32 dlen);

/* A message on a pipe of the TCP or UDP gate. A bundle that has such gates exports
 * i32 scl_gates(void): bit n is set for gate n. */
SSP_IMPORT(scl_send) i32 scl_send(i32 gate, i32 pipe, i32 instruction, const void *data, i32 len);

/* An area as ipc_com_main and ipc_main_com return it. */
#define SSP_AREA(a) ((i64)(u32)(a) << 32 | (i64)sizeof(a))

#endif
