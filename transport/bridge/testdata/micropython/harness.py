# Runs bridge_i2c_target.py for the tests, under MicroPython or Python. One line in is
# one turn, answered by lines that end with one of a dot:
#
#   H HEX  bytes of the host      ->  H HEX  bytes to the host
#   W ADDR HEX, R ADDR N          ->  the controller writes, reads: R HEX, or N for a NACK
#   P      the reset line is pulled
#                                     I 0|1  the interrupt line
from binascii import hexlify, unhexlify

import machine

import bridge_i2c_target

out = []
board = bridge_i2c_target.Board(lambda b: out.append("H " + hexlify(bytes(b)).decode()))


def turn(line):
    del out[:]
    what = line.split()
    if what[0] == "H":
        board.feed(unhexlify(what[1]))
    elif what[0] == "P":
        machine.Pin.pins[bridge_i2c_target.RST].handler(None)
    else:
        t = machine.I2CTarget.here
        if t is None or t.addr != int(what[1]):
            out.append("N")
        elif what[0] == "W":
            t.controller_writes(unhexlify(what[2]))
        else:
            out.append("R " + hexlify(bytes(t.controller_reads(int(what[2])))).decode())
    board.step()
    out.append("I %d" % machine.Pin.pins[bridge_i2c_target.IRQ].level)
    out.append(".\n")
    return "\n".join(out)


def main():
    import sys

    for line in sys.stdin:
        sys.stdout.write(turn(line))
        sys.stdout.flush()


if __name__ == "__main__":
    main()
