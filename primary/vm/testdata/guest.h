/* What every guest of these tests has; each test adds on_message and more. */
#include "../../../bundles/sdk/c/ssp.h"

static u8 in[4096], out[4096];

#ifndef ABI_VERSION
#define ABI_VERSION SSP_ABI
#endif
#ifndef NO_ABI
SSP_EXPORT(vpp_abi) i32 abi(void) { return ABI_VERSION; }
#endif
#ifndef COM_MAIN
#define COM_MAIN SSP_AREA(in)
#endif
#ifndef ON_INIT
#define ON_INIT 0
#endif
SSP_EXPORT(ipc_com_main) i64 com_main(void) { return COM_MAIN; }
SSP_EXPORT(ipc_main_com) i64 main_com(void) { return SSP_AREA(out); }
SSP_EXPORT(on_init) i32 on_init(i32 reason) { nvm_put("init", 4, &reason, 4); return ON_INIT; }
SSP_EXPORT(on_signal) i32 on_signal(i32 bitmap) {
    nvm_put("signal", 6, &bitmap, 4);
    return bitmap == SIGNAL_RESET ? 0 : -MK_ERROR_ACCESS_DENIED;
}
