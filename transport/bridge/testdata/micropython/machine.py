# A stub of MicroPython's module machine, as far as bridge_i2c_target.py uses it, and
# the controller of the bus that it is on.


def disable_irq():
    return 1


def enable_irq(state):
    assert state == 1


class Pin:
    IN, OUT, PULL_UP, IRQ_FALLING = 0, 1, 1, 4
    pins = {}

    def __init__(self, n, mode=-1, pull=-1, value=None):
        self.level = value or 0
        self.handler = None
        if mode >= 0:
            Pin.pins[n] = self

    def value(self, v):
        self.level = v

    def irq(self, handler, trigger):
        assert trigger == Pin.IRQ_FALLING
        self.handler = handler


class Flags:
    def __init__(self, n):
        self.n = n

    def flags(self):
        return self.n


class I2CTarget:
    IRQ_READ_REQ, IRQ_WRITE_REQ, IRQ_END_READ, IRQ_END_WRITE = 4, 8, 16, 32
    here = None

    def __init__(self, id, addr, scl=None, sda=None):
        assert I2CTarget.here is None and scl is not None and sda is not None
        I2CTarget.here = self
        self.addr = addr
        self.handler = None
        self.now = 0
        self.byte = None

    def deinit(self):
        I2CTarget.here = None

    def irq(self, handler=None, trigger=0, hard=False):
        if handler is not None:
            assert hard, "requests want a hard handler"
            self.handler, self.trigger = handler, trigger
        return Flags(self.now)

    def readinto(self, buf):
        assert self.now == self.IRQ_WRITE_REQ and len(buf) == 1
        buf[0] = self.byte
        return 1

    def write(self, buf):
        assert self.now == self.IRQ_READ_REQ and len(buf) == 1
        self.byte = buf[0]
        return 1

    def fire(self, flag):
        if self.trigger & flag:
            self.now = flag
            self.handler(self)
            self.now = 0

    # The controller.
    def controller_writes(self, data):
        for b in data:
            self.byte = b
            self.fire(self.IRQ_WRITE_REQ)
        self.fire(self.IRQ_END_WRITE)

    def controller_reads(self, n):
        out = bytearray()
        for _ in range(n):
            self.byte = None
            self.fire(self.IRQ_READ_REQ)
            assert self.byte is not None, "a read was not served"
            out.append(self.byte)
        self.fire(self.IRQ_END_READ)
        return out
