"""An IoT SAFE client as it stands behind a modem: modem.py PORT DIRECTORY

Writes message, csim.sig, cgla.sig (ECDSA, SHA-256, key 01) and cert.der (file 02).
"""

import hashlib
import serial
import sys

port = serial.Serial(sys.argv[1], 115200, timeout=10)


def at(line):
    """Sends a line; the lines of the answer, the result code last."""
    port.write(line.encode() + b"\r")
    answer = []
    while True:
        raw = port.readline()
        assert raw.endswith(b"\r\n"), (line, raw)
        text = raw.strip().decode()
        if text:
            answer.append(text)
        if text in ("OK", "ERROR") or text.startswith("+CME ERROR:"):
            return answer


def ok(line):
    answer = at(line)
    assert answer[-1] == "OK", (line, answer)
    return answer[:-1]


def card(command):
    """One APDU, with what waits behind it; command makes the line of it."""

    def transmit(apdu):
        data = ""
        while True:
            line, prefix = command(apdu.hex().upper())
            (text,) = ok(line)
            assert text.startswith(prefix), text
            length, value = text[len(prefix) :].split(",")
            value = value.strip('"')
            assert int(length) == len(value), text
            data, sw = data + value[:-4], value[-4:]
            if sw[:2] != "61":
                assert sw == "9000", (line, sw)
                return bytes.fromhex(data)
            apdu = bytes([apdu[0] & 3, 0xC0, 0, 0, int(sw[2:], 16)])

    return transmit


def sign(transmit, message):
    digest = hashlib.sha256(message).digest()
    # COMPUTE SIGNATURE: key 01, pad and sign, SHA-256, ECDSA.
    transmit(bytes.fromhex("802A00000D 840101 A10103 91020001 920104"))
    r = transmit(bytes.fromhex("802B8000229E20") + digest + b"\0")
    transmit(bytes.fromhex("802A010000"))
    assert r[0] == 0x33 and len(r) >= 66, r.hex()
    raw = r[-64:]
    ints = b""
    for half in (raw[:32], raw[32:]):
        n = half.lstrip(b"\0")
        n = b"\0" + n if n[0] & 0x80 else n
        ints += bytes([2, len(n)]) + n
    return bytes([0x30, len(ints)]) + ints


port.write(b"AT\r")  # as some clients wake a modem
port.read_until(b"OK\r\n")
ok("ATE0")
ok("AT+CMEE=1")
assert at("AT+NOSUCH")[-1] == "ERROR"
assert at('AT+CSIM=9,"80CB0000"')[-1] == "+CME ERROR: 50"
assert ok("AT+CPIN?") == ["+CPIN: READY"]

message = b"from behind a modem"
open(sys.argv[2] + "/message", "wb").write(message)

csim = card(lambda h: ('AT+CSIM=%d,"%s"' % (len(h), h), "+CSIM: "))
csim(bytes.fromhex("00A4040007A0000005590010"))
open(sys.argv[2] + "/csim.sig", "wb").write(sign(csim, message))

(session,) = ok('AT+CCHO="A0000005590010"')
session = session.replace("+CCHO: ", "")
cgla = card(lambda h: ('AT+CGLA=%s,%d,"%s"' % (session, len(h), h), "+CGLA: "))
open(sys.argv[2] + "/cgla.sig", "wb").write(sign(cgla, message))
cert = b""
while len(cert) < 4 or len(cert) < 4 + int.from_bytes(cert[2:4], "big"):
    part = cgla(bytes([0x80, 0xB0, len(cert) >> 8, len(cert) & 0xFF, 3, 0x83, 1, 2, 0]))
    assert part
    cert += part
open(sys.argv[2] + "/cert.der", "wb").write(cert)
assert ok("AT+CCHC=" + session) == ["+CCHC"]
assert at("AT+CGLA=" + session + ',10,"80CB000000"')[-1] == "+CME ERROR: 21"
print("all good")
