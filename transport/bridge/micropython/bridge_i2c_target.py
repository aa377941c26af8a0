# The board of docs/bridge.md as an I2C target, for an RP2040-class board with
# MicroPython 1.26 or later (machine.I2CTarget). It has not been run on a board: the
# tests run it with a stub of the module machine.
#
#   Pico GP0 -- SDA    GP2 -- IRQ, active high, ours
#   Pico GP1 -- SCL    GP3 -- RST, active low, the controller's
#
# Copy it to the board as main.py. It speaks the framing on USB instead of the console:
# to get the console back, hold BOOTSEL, or start without it (mpremote mip, a safe boot).
import machine

SDA, SCL, IRQ, RST = 0, 1, 2, 3
I2C_ID = 0
NAME = b"MicroPython I2C target"

VERSION = 1
HELLO, ERROR = 0x01, 0x02
WRITTEN, READY, TAKEN, RESET, IRQ_LINE = 0x10, 0x11, 0x12, 0x13, 0x15
ROLE_TARGET, BUS_I2C = 1, 2
LINE_IRQ, LINE_RESET = 1, 2

MAX_ACCESS = 4600
MAX_CODED = 4640
IDLE = 0xFF


def crc16(data):
    c = 0xFFFF
    for b in data:
        c ^= b << 8
        for _ in range(8):
            c = ((c << 1) ^ 0x1021) & 0xFFFF if c & 0x8000 else (c << 1) & 0xFFFF
    return c


def cobs(data):
    out = bytearray(1)
    at = 0
    for b in data:
        if len(out) - at == 255:
            out[at] = 255
            at = len(out)
            out.append(0)
        if b:
            out.append(b)
        else:
            out[at] = len(out) - at
            at = len(out)
            out.append(0)
    out[at] = len(out) - at
    return out


def uncobs(data):
    out = bytearray()
    i = 0
    while i < len(data):
        n = data[i]
        if n == 0 or i + n > len(data):
            return None
        out.extend(data[i + 1 : i + n])
        i += n
        if n < 255 and i < len(data):
            out.append(0)
    return out


class Board:
    def __init__(self, write):
        self.write = write
        self.count = 0
        self.coded = bytearray()
        self.over = False
        self.i2c = None
        self.addr = 0
        self.irq_pin = machine.Pin(IRQ, machine.Pin.OUT, value=0)
        self.rst_pin = machine.Pin(RST, machine.Pin.IN, machine.Pin.PULL_UP)
        self.rst_pin.irq(self.on_reset, machine.Pin.IRQ_FALLING)
        # What the interrupt handler uses is there before: it must not allocate.
        self.one = bytearray(1)
        self.rx = bytearray(2 * MAX_ACCESS)
        self.rx_len = 0
        self.ends = [0] * 16  # where accesses end in rx
        self.n_ends = 0
        self.gen = -1
        self.ready = b""
        self.pos = 0
        self.told = 0
        self.resets = 0

    def on_reset(self, pin):
        self.resets += 1

    def on_i2c(self, i2c):
        flags = i2c.irq().flags()
        if flags & machine.I2CTarget.IRQ_WRITE_REQ:
            i2c.readinto(self.one)
            if self.rx_len < len(self.rx):
                self.rx[self.rx_len] = self.one[0]
                self.rx_len += 1
        if flags & machine.I2CTarget.IRQ_READ_REQ:
            if self.pos < len(self.ready):
                self.one[0] = self.ready[self.pos]
                self.pos += 1
            else:
                self.one[0] = IDLE
            i2c.write(self.one)
        if flags & machine.I2CTarget.IRQ_END_WRITE:
            if self.n_ends < len(self.ends):
                self.ends[self.n_ends] = self.rx_len
                self.n_ends += 1

    def send(self, t, payload):
        body = bytearray((t, self.count))
        self.count = (self.count + 1) & 0xFF
        body.extend(payload)
        c = crc16(body)
        body.append(c >> 8)
        body.append(c & 0xFF)
        self.write(b"\x00" + cobs(body) + b"\x00")

    def feed(self, data):
        # Takes bytes of the host.
        for b in data:
            if b:
                if len(self.coded) < MAX_CODED:
                    self.coded.append(b)
                else:
                    self.over = True
                continue
            coded, over = self.coded, self.over
            self.coded, self.over = bytearray(), False
            if not coded or over:
                continue
            body = uncobs(coded)
            if body is None or len(body) < 4:
                continue
            if crc16(body[:-2]) == body[-2] << 8 | body[-1]:
                self.message(body[0], body[2:-2])

    def message(self, t, p):
        if t == HELLO:
            self.hello(p)
        elif t == READY and len(p) >= 1:
            if p[0] != self.gen:
                state = machine.disable_irq()
                self.gen = p[0]
                self.ready = bytes(p[1:])
                self.pos = 0
                self.told = 0
                machine.enable_irq(state)
            else:
                self.told = -1  # is said again
        elif t == IRQ_LINE and len(p) == 1:
            self.irq_pin.value(1 if p[0] else 0)

    def hello(self, p):
        if len(p) < 16 or p[:4] != b"SSPB" or p[4] != VERSION:
            self.send(HELLO, b"SSPB" + bytes((VERSION,)))
            return
        addr = p[8] << 8 | p[9]
        if p[5] != ROLE_TARGET or p[6] != BUS_I2C or not 0x08 <= addr <= 0x77:
            self.send(ERROR, b"this board is an I2C target")
            return
        self.gen, self.ready, self.pos, self.told = -1, b"", 0, 0
        self.rx_len = self.n_ends = 0
        self.irq_pin.value(0)
        if addr != self.addr:
            if self.i2c:
                self.i2c.deinit()
            self.i2c = machine.I2CTarget(I2C_ID, addr, scl=machine.Pin(SCL), sda=machine.Pin(SDA))
            self.i2c.irq(
                self.on_i2c,
                machine.I2CTarget.IRQ_WRITE_REQ | machine.I2CTarget.IRQ_READ_REQ | machine.I2CTarget.IRQ_END_WRITE,
                hard=True,
            )
            self.addr = addr
        self.send(
            HELLO,
            b"SSPB"
            + bytes((VERSION, ROLE_TARGET, BUS_I2C, LINE_IRQ | LINE_RESET, 0, addr, MAX_ACCESS >> 8, MAX_ACCESS & 0xFF, 0, 0, 0, 0))
            + NAME,
        )

    def step(self):
        # Tells the host what has happened.
        state = machine.disable_irq()
        resets, self.resets = self.resets, 0
        pos, gen = self.pos, self.gen
        accesses = []
        start = 0
        for i in range(self.n_ends):
            accesses.append(bytes(self.rx[start : self.ends[i]]))
            start = self.ends[i]
        if start:  # what is left belongs to an access that goes on
            rest = self.rx_len - start
            self.rx[:rest] = self.rx[start : self.rx_len]
            self.rx_len = rest
        self.n_ends = 0
        machine.enable_irq(state)
        if gen >= 0 and pos != self.told:
            self.told = pos
            self.send(TAKEN, bytes((gen, pos >> 8, pos & 0xFF)))
        for a in accesses:
            if 0 < len(a) <= MAX_ACCESS:
                self.send(WRITTEN, a)
        if resets:
            self.send(RESET, b"")


def main():
    import select
    import sys

    import micropython

    micropython.alloc_emergency_exception_buf(100)
    micropython.kbd_intr(-1)  # a 03 in a frame is no Ctrl-C
    board = Board(sys.stdout.buffer.write)
    poll = select.poll()
    poll.register(sys.stdin, select.POLLIN)
    while True:
        while poll.poll(0):
            board.feed(sys.stdin.buffer.read(1))
        board.step()


if __name__ == "__main__":
    main()
