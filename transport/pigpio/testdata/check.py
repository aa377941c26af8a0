# Debian's python3-pigpio against the pigpiod of the tests: what the real client
# understands is what a real daemon says. It tells the test what to do as the
# controller of the bus, one word a line, and fails by an exception.
import sys
import time

import pigpio


def say(word):
    print(word, flush=True)
    assert sys.stdin.readline().strip() == "done"


def until(what):
    end = time.time() + 10
    while not what():
        assert time.time() < end, "waited in vain"
        time.sleep(0.001)


pi = pigpio.pi("127.0.0.1", int(sys.argv[1]), show_errors=True)
assert pi.connected
assert pi.get_pigpio_version() == 79
assert pi.get_hardware_revision() == 0xA02082

events = []
edges = []
bsc = pi.event_callback(pigpio.EVENT_BSC, lambda event, tick: events.append(event))
reset = pi.callback(25, pigpio.FALLING_EDGE, lambda gpio, level, tick: edges.append((gpio, level)))

status, n, data = pi.bsc_i2c(0x48, b"hello")
assert status >> 16 == 5, status  # copied
assert status >> 6 & 31 == 5, status  # in the transmit FIFO
assert status & 1 << 1, status  # receive FIFO empty
assert (n, bytes(data)) == (0, b"")

say("transact")  # the controller writes 01 02 03 and reads hello
until(lambda: events)
assert events[0] == pigpio.EVENT_BSC
status, n, data = pi.bsc_i2c(0x48)
assert (n, bytes(data)) == (3, b"\x01\x02\x03"), data
assert status >> 6 & 31 == 0 and status & 1 << 4, status  # transmit FIFO empty

status, n, data = pi.bsc_i2c(0x48, bytes(range(40)))
assert status >> 16 == 16, status  # no more room
assert status >> 6 & 31 == 16 and status & 1 << 2, status  # transmit FIFO full
status, n, data = pi.bsc_xfer(0x480000 | 0x305 | 0x80, b"")  # clear the FIFOs
assert status >> 6 & 31 == 0, status

pi.set_mode(24, pigpio.OUTPUT)
pi.write(24, 1)
assert pi.read(24) == 1
say("irq")  # the controller sees it
pi.set_mode(25, pigpio.INPUT)
pi.set_pull_up_down(25, pigpio.PUD_UP)
say("reset")  # the controller pulls it
until(lambda: edges)
assert edges == [(25, 0)], edges

try:
    pi.set_mode(99, pigpio.OUTPUT)
    assert False
except pigpio.error as e:
    assert "GPIO not 0-53" in str(e), e

pi.bsc_i2c(0)
say("gone")  # nobody acknowledges
pi.stop()
print("end", flush=True)
