/* A terminal for PACE, whose cryptography is that of libeac (OpenPACE) and whose card is
 * one of pcscd: it does PACE with each PACEInfo of EF.CardAccess that libeac can do, and
 * selects the eMRTD application in the secure messaging that follows. Integrated mapping
 * is left out, which libeac does as TR-03110 2.01 had it and not as Doc 9303 has it, and
 * chip authentication mapping, which it does not know.
 *
 *   pace CAN [READER]
 *   cc -o pace pace.c -I/usr/include/PCSC -lpcsclite -leac -lcrypto
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <winscard.h>
#include <eac/eac.h>
#include <eac/pace.h>
#include <openssl/bn.h>
#include <openssl/objects.h>

static SCARDCONTEXT context;
static SCARDHANDLE card;
static DWORD protocol;
static unsigned char answer[65538];
static DWORD answered; /* without the status word */
static unsigned status;

static void fail(const char *what)
{
	fprintf(stderr, "%s\n", what);
	exit(1);
}

static void send(const unsigned char *c, size_t n)
{
	answered = sizeof answer;
	if (SCardTransmit(card, protocol == SCARD_PROTOCOL_T0 ? SCARD_PCI_T0 : SCARD_PCI_T1, c, n, NULL, answer, &answered) != SCARD_S_SUCCESS || answered < 2)
		fail("SCardTransmit");
	answered -= 2;
	status = answer[answered] << 8 | answer[answered + 1];
}

/* object finds the value of a data object with a tag of one octet. */
static unsigned char *object(unsigned char *b, size_t n, int tag, size_t *length)
{
	size_t at = 0;
	while (at + 2 <= n) {
		int t = b[at++];
		size_t l = b[at++];
		if (l == 0x81 && at < n)
			l = b[at++];
		else if (l == 0x82 && at + 1 < n) {
			l = b[at] << 8 | b[at + 1];
			at += 2;
		}
		if (at + l > n)
			break;
		if (t == tag) {
			*length = l;
			return b + at;
		}
		at += l;
	}
	return NULL;
}

/* general is GENERAL AUTHENTICATE with one object in 7C; it gives one of the answer. */
static BUF_MEM *general(int last, int tag, BUF_MEM *data, int want)
{
	unsigned char c[600], inner[600];
	size_t n = 0, l;
	if (tag) {
		inner[n++] = tag;
		if (data->length > 127)
			inner[n++] = 0x81;
		inner[n++] = data->length;
		memcpy(inner + n, data->data, data->length);
		n += data->length;
	}
	size_t k = 0, header = n > 127 ? 3 : 2;
	c[k++] = last ? 0x00 : 0x10;
	c[k++] = 0x86;
	c[k++] = 0;
	c[k++] = 0;
	c[k++] = header + n;
	c[k++] = 0x7C;
	if (n > 127)
		c[k++] = 0x81;
	c[k++] = n;
	memcpy(c + k, inner, n);
	k += n;
	c[k++] = 0;
	send(c, k);
	if (status != 0x9000) {
		fprintf(stderr, "GENERAL AUTHENTICATE: %04X\n", status);
		return NULL;
	}
	unsigned char *t = object(answer, answered, 0x7C, &l);
	unsigned char *v = t ? object(t, l, want, &l) : NULL;
	if (!v)
		return NULL;
	BUF_MEM *b = BUF_MEM_new();
	BUF_MEM_grow(b, l);
	memcpy(b->data, v, l);
	return b;
}

static BUF_MEM *buffer(const unsigned char *p, size_t n)
{
	BUF_MEM *b = BUF_MEM_new();
	BUF_MEM_grow(b, n);
	memcpy(b->data, p, n);
	return b;
}

/* protected_select selects the application in secure messaging and checks the answer. */
static int protected_select(EAC_CTX *ctx)
{
	static const unsigned char aid[] = {0xA0, 0, 0, 2, 0x47, 0x10, 1};
	size_t l, k = 0;
	if (!EAC_CTX_set_encryption_ctx(ctx, EAC_ID_PACE) || !EAC_reset_ssc(ctx) || !EAC_increment_ssc(ctx))
		return 0;
	size_t block = EVP_CIPHER_block_size(ctx->key_ctx->cipher);
	BUF_MEM *padded = EAC_add_iso_pad(ctx, buffer(aid, sizeof aid));
	BUF_MEM *cryptogram = padded ? EAC_encrypt(ctx, padded) : NULL;
	if (!cryptogram)
		return 0;
	unsigned char do87[64], mac[128], c[128];
	do87[k++] = 0x87;
	do87[k++] = cryptogram->length + 1;
	do87[k++] = 1;
	memcpy(do87 + k, cryptogram->data, cryptogram->length);
	k += cryptogram->length;
	memset(mac, 0, sizeof mac);
	memcpy(mac, "\x0C\xA4\x04\x0C\x80", 5); /* header, padded to a block */
	memcpy(mac + block, do87, k);
	BUF_MEM *m = EAC_add_iso_pad(ctx, buffer(mac, block + k));
	m = m ? EAC_authenticate(ctx, m) : NULL;
	if (!m || m->length != 8)
		return 0;
	memcpy(c, "\x0C\xA4\x04\x0C", 4);
	c[4] = k + 10;
	memcpy(c + 5, do87, k);
	c[5 + k] = 0x8E;
	c[6 + k] = 8;
	memcpy(c + 7 + k, m->data, 8);
	c[15 + k] = 0;
	send(c, 16 + k);
	if (status != 0x9000) {
		fprintf(stderr, "SELECT in secure messaging: %04X\n", status);
		return 0;
	}
	unsigned char *v = object(answer, answered, 0x8E, &l);
	if (!v || l != 8 || v - answer != 6 || !EAC_increment_ssc(ctx))
		return 0;
	BUF_MEM *covered = EAC_add_iso_pad(ctx, buffer(answer, 4)); /* 99 02 90 00 */
	return covered && EAC_verify_authentication(ctx, covered, buffer(v, 8)) == 1;
}

/* pace does PACE with one PACEInfo, a SEQUENCE. */
static int pace(const unsigned char *info, size_t n, const char *can)
{
	unsigned char access[128], c[64];
	size_t l;
	if (n > sizeof access - 2)
		return 0;
	if (n < 14 || info[12] != 2) {
		printf("left out: not ECDH with generic mapping\n");
		return 1;
	}
	access[0] = 0x31;
	access[1] = n;
	memcpy(access + 2, info, n);
	EAC_CTX *ctx = EAC_CTX_new();
	if (!EAC_CTX_init_ef_cardaccess(access, n + 2, ctx) || !ctx->pace_ctx) {
		fprintf(stderr, "libeac does not take the PACEInfo\n");
		return 0;
	}
	printf("%s: ", OBJ_nid2sn(ctx->pace_ctx->protocol));
	unsigned char *oid = object(access + 4, n - 2, 0x06, &l);
	size_t k = 0;
	memcpy(c, "\x00\x22\xC1\xA4", 4);
	k = 5;
	c[k++] = 0x80;
	c[k++] = l;
	memcpy(c + k, oid, l);
	k += l;
	memcpy(c + k, "\x83\x01\x02", 3); /* the CAN */
	k += 3;
	unsigned char *rest = access + 4;
	unsigned char *parameters = NULL;
	for (unsigned char *p = rest; p < access + 2 + n; p += 2 + p[1]) /* the last INTEGER */
		if (p[0] == 0x02)
			parameters = p;
	if (parameters) {
		memcpy(c + k, "\x84\x01", 2);
		c[k + 2] = parameters[2];
		k += 3;
	}
	c[4] = k - 5;
	send(c, k);
	if (status != 0x9000) {
		fprintf(stderr, "MSE:Set AT: %04X\n", status);
		return 0;
	}
	PACE_SEC *secret = PACE_SEC_new(can, strlen(can), PACE_CAN);
	BUF_MEM *nonce = general(0, 0, NULL, 0x80);
	if (!nonce || !PACE_STEP2_dec_nonce(ctx, secret, nonce))
		return 0;
	BUF_MEM *mapping = PACE_STEP3A_generate_mapping_data(ctx);
	BUF_MEM *theirs = mapping ? general(0, 0x81, mapping, 0x82) : NULL;
	if (!theirs || !PACE_STEP3A_map_generator(ctx, theirs))
		return 0;
	BUF_MEM *own = PACE_STEP3B_generate_ephemeral_key(ctx);
	BUF_MEM *chip = own ? general(0, 0x83, own, 0x84) : NULL;
	if (!chip || !PACE_STEP3B_compute_shared_secret(ctx, chip) || !PACE_STEP3C_derive_keys(ctx))
		return 0;
	BUF_MEM *token = PACE_STEP3D_compute_authentication_token(ctx, chip);
	BUF_MEM *its = token ? general(1, 0x85, token, 0x86) : NULL;
	if (!its || PACE_STEP3D_verify_authentication_token(ctx, its) != 1) {
		fprintf(stderr, "the authentication token is wrong\n");
		return 0;
	}
	if (!protected_select(ctx)) {
		fprintf(stderr, "secure messaging is wrong\n");
		return 0;
	}
	printf("done, the application is selected\n");
	return 1;
}

int main(int argc, char **argv)
{
	char list[4096];
	unsigned char copy[1024];
	DWORD n = sizeof list;
	if (argc < 2)
		fail("usage: pace CAN [READER]");
	EAC_init();
	setvbuf(stdout, NULL, _IOLBF, 0);
	if (SCardEstablishContext(SCARD_SCOPE_SYSTEM, NULL, NULL, &context) != SCARD_S_SUCCESS || SCardListReaders(context, NULL, list, &n) != SCARD_S_SUCCESS)
		fail("no reader");
	const char *reader = argc > 2 ? argv[2] : list;
	if (SCardConnect(context, reader, SCARD_SHARE_EXCLUSIVE, SCARD_PROTOCOL_T0 | SCARD_PROTOCOL_T1, &card, &protocol) != SCARD_S_SUCCESS)
		fail("no card");
	send((const unsigned char *)"\x00\xA4\x02\x0C\x02\x01\x1C", 7);
	if (status != 0x9000)
		fail("no EF.CardAccess");
	send((const unsigned char *)"\x00\xB0\x00\x00\x00", 5);
	size_t l, length = answered;
	if (length > sizeof copy)
		fail("EF.CardAccess is too long");
	memcpy(copy, answer, length);
	unsigned char *set = object(copy, length, 0x31, &l);
	if (!set)
		fail("EF.CardAccess is no SET");
	int all = 1;
	for (unsigned char *p = set; p + 2 < set + l; p += 2 + p[1]) {
		if (SCardReconnect(card, SCARD_SHARE_EXCLUSIVE, SCARD_PROTOCOL_T0 | SCARD_PROTOCOL_T1, SCARD_UNPOWER_CARD, &protocol) != SCARD_S_SUCCESS)
			fail("reset");
		all &= pace(p, 2 + p[1], argv[1]);
		fflush(stdout);
	}
	SCardDisconnect(card, SCARD_UNPOWER_CARD);
	return !all;
}
