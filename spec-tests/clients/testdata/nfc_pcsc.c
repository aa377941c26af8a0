/* libnfc's functions, as far as mrtdreader and libmrtd call them, on a card of pcscd:
 * the programs run as Debian has them, and think that a passport lies on an NFC reader.
 *
 *   mrtdreader ── libmrtd ── nfc_... (this file, LD_PRELOAD) ── pcscd ── the card
 *
 *   cc -shared -fPIC -o nfc_pcsc.so nfc_pcsc.c -I/usr/include/PCSC -lpcsclite
 */
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <winscard.h>

static SCARDCONTEXT context;
static SCARDHANDLE card;
static DWORD protocol;
static char reader[256];
static int device; /* something to point to */

void nfc_init(void **c) { *c = &device; }
void nfc_exit(void *c) { (void)c; }
void nfc_close(void *d) { (void)d; SCardDisconnect(card, SCARD_RESET_CARD); }
void nfc_perror(const void *d, const char *s) { (void)d; fprintf(stderr, "%s: NFC error\n", s); }
const char *nfc_device_get_name(void *d) { (void)d; return reader; }
int nfc_device_set_property_bool(void *d, int p, bool on) { (void)d; (void)p; (void)on; return 0; }
int nfc_initiator_init(void *d) { (void)d; return 0; }

size_t nfc_list_devices(void *c, char names[][1024], size_t most)
{
	(void)c;
	static char list[4096];
	DWORD n = sizeof list;
	if (most == 0 || SCardEstablishContext(SCARD_SCOPE_SYSTEM, NULL, NULL, &context) != SCARD_S_SUCCESS ||
	    SCardListReaders(context, NULL, list, &n) != SCARD_S_SUCCESS)
		return 0;
	list[sizeof reader - 1] = 0; /* the first name is shorter */
	strcpy(reader, list);
	strcpy(names[0], "pcsc:reader");
	return 1;
}

void *nfc_open(void *c, const char *name)
{
	char names[1][1024];
	(void)name;
	if (!context && nfc_list_devices(c, names, 1) != 1)
		return NULL;
	LONG r = SCardConnect(context, reader, SCARD_SHARE_SHARED, SCARD_PROTOCOL_T0 | SCARD_PROTOCOL_T1, &card, &protocol);
	return r == SCARD_S_SUCCESS ? &device : NULL;
}

struct modulation { int type, baud; };

int nfc_initiator_select_passive_target(void *d, struct modulation m, const unsigned char *init, size_t n, void *target)
{
	(void)d; (void)m; (void)init; (void)n;
	memset(target, 0, 283); /* struct nfc_iso14443a_info: no UID, no ATS */
	return 1;
}

int nfc_initiator_transceive_bytes(void *d, const unsigned char *tx, size_t n, unsigned char *rx, size_t room, int timeout)
{
	(void)d; (void)timeout;
	unsigned char answer[65538];
	DWORD got = sizeof answer;
	const SCARD_IO_REQUEST *pci = protocol == SCARD_PROTOCOL_T0 ? SCARD_PCI_T0 : SCARD_PCI_T1;
	if (SCardTransmit(card, pci, tx, n, NULL, answer, &got) != SCARD_S_SUCCESS || got > room)
		return -1;
	memcpy(rx, answer, got);
	if (getenv("NFC_TRACE"))
		fprintf(stderr, "> %02X%02X%02X%02X, %zu bytes < %lu bytes %02X%02X\n", tx[0], tx[1], tx[2], tx[3], n, (unsigned long)got, got > 1 ? rx[got-2] : 0, got > 1 ? rx[got-1] : 0);
	return (int)got;
}
