#!/usr/bin/python3
"""What a program with pyscard does with the card: it runs under the test of this
folder and ends with "all good" or with a traceback."""

import os
import subprocess

from smartcard.CardConnection import CardConnection
from smartcard.CardMonitoring import CardMonitor, CardObserver
from smartcard.System import readers
from smartcard.util import toBytes, toHexString
import threading

USIM = "A0 00 00 00 87 10 02"
ICCID = "98 00 01 01 00 00 00 00 00"
IMSI = "08 09 10 10 00 00 00 00 10"

# Test set 1 of 3GPP TS 35.207: RAND, AUTN = SQN xor AK, AMF, MAC-A; RES, CK, IK.
RAND = "23 55 3C BE 96 37 A8 9D 21 8A E6 4D AE 47 BF 35"
AUTN = "55 F3 28 B4 35 77 B9 B9 4A 9F FA C3 54 DF AF B3"
RES = "A5 42 11 D5 E3 BA 50 BF"
CK = "B4 0B A9 A3 C5 8B 2A 05 BB F0 D9 87 B2 1B F8 CB"
IK = "F7 69 BC D7 51 04 46 04 12 76 72 71 1C 6D 34 41"


def sspemu(*args):
    """The command line of the emulator under test."""
    subprocess.run([os.environ["SSPEMU"], *args, "--api", os.environ["SSPEMU_ADDRESS"]], check=True, timeout=60)


class Card:
    def __init__(self, protocol):
        reader = [r for r in readers() if str(r) == "Test PCD 00 00"][0]
        self.connection = reader.createConnection()
        self.connection.connect(protocol)

    def send(self, command, want="90 00"):
        """Sends a command as a T=0 program does: GET RESPONSE after 61xx."""
        data, sw1, sw2 = self.connection.transmit(toBytes(command))
        if sw1 == 0x61:
            cla = command.split()[0]
            data, sw1, sw2 = self.connection.transmit(toBytes(cla + " C0 00 00 %02X" % sw2))
        got = "%02X %02X" % (sw1, sw2)
        assert got == want, "%s: %s instead of %s" % (command, got, want)
        return toHexString(data)


def play(protocol):
    card = Card(protocol)
    atr = toHexString(card.connection.getATR())
    assert atr.startswith("3B 9E 96 80"), atr

    assert card.send("00 A4 00 04 02 3F 00").startswith("62")
    card.send("00 A4 00 04 02 2F E2")
    assert card.send("00 B0 00 00 0A").startswith(ICCID)

    assert card.send("00 A4 04 04 07 " + USIM).startswith("62")
    card.send("00 A4 00 04 02 6F 07")
    card.send("00 B0 00 00 09", want="69 82")  # PIN1 comes first
    card.send("00 20 00 01 08 39 39 39 39 FF FF FF FF", want="63 C2")
    card.send("00 20 00 01", want="63 C2")
    card.send("00 20 00 01 08 31 32 33 34 FF FF FF FF")
    assert card.send("00 B0 00 00 09") == IMSI

    # Three logical channels with selections of their own.
    one, two, three = (card.send("00 70 00 00 01") for _ in range(3))
    assert [one, two, three] == ["01", "02", "03"], (one, two, three)
    card.send("01 A4 00 04 02 2F E2")
    card.send("02 A4 04 04 07 " + USIM)
    card.send("02 A4 00 04 02 6F 07")
    assert card.send("01 B0 00 00 0A").startswith(ICCID)
    assert card.send("02 B0 00 00 09") == IMSI
    assert card.send("00 B0 00 00 09") == IMSI
    for channel in ("01", "02", "03"):
        card.send("00 70 80 " + channel)
    card.send("00 70 80 01", want="68 81")
    card.send("01 B0 00 00 0A", want="68 81")
    return card


def authenticate(card):
    answer = card.send("00 88 00 81 22 10 " + RAND + " 10 " + AUTN)
    assert answer.startswith("DB 08 " + RES + " 10 " + CK + " 10 " + IK), answer
    # The same sequence number again: the card asks for resynchronisation.
    assert card.send("00 88 00 81 22 10 " + RAND + " 10 " + AUTN).startswith("DC 0E")
    card.send("00 88 00 81 22 10 " + RAND + " 10 " + AUTN[:-2] + "00", want="98 62")


class Changes(CardObserver):
    """Notes that the card left and that one came."""

    def __init__(self):
        self.left, self.came = threading.Event(), threading.Event()
        self.armed = False

    def update(self, observable, change):
        added, removed = change
        if self.armed and removed:
            self.left.set()
        if self.armed and added and self.left.is_set():
            self.came.set()


def switch():
    changes = Changes()
    monitor = CardMonitor()
    monitor.addObserver(changes)
    changes.armed = True
    sspemu("bundle", "activate", "example")
    assert changes.left.wait(20), "the card should leave the reader"
    assert changes.came.wait(20), "another card should come"
    monitor.deleteObserver(changes)
    card = Card(CardConnection.T1_protocol)
    assert card.send("00 A4 04 00 08 F0 53 53 50 45 4D 55 01").startswith("6F")
    card.send("80 10 00 00 04")
    sspemu("bundle", "activate", "telecom")


# What ran before may have left the card powered with T=1: take the power away.
fresh = [r for r in readers() if str(r) == "Test PCD 00 00"][0].createConnection()
fresh.connect()
fresh.disconnect()

play(CardConnection.T0_protocol).connection.disconnect()
card = play(CardConnection.T1_protocol)
authenticate(card)
card.connection.disconnect()
switch()
print("all good")
