package main

import (
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/spf13/cobra"

	"github.com/sspemu/sspemu/cmd/sspemu/console"
	"github.com/sspemu/sspemu/transport"
	"github.com/sspemu/sspemu/transport/bus"
	"github.com/sspemu/sspemu/transport/bus/buslink"
)

func newBus() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "bus",
		Short: "Watch a simulated SPI or I2C bus",
	}
	group(cmd, newBusRecord())
	return cmd
}

// recorded is what a bus did.
type recorded struct {
	Schema     int                `json:"schema"`
	Link       string             `json:"link"`
	File       string             `json:"file"`
	Hz         int64              `json:"hz"`
	Time       time.Duration      `json:"time_ns"`
	Accesses   int64              `json:"accesses"`
	Payload    int64              `json:"payload_bytes"` // of APDUs, both ways
	Efficiency float64            `json:"efficiency"`
	BitTimes   map[string]float64 `json:"bit_times"` // by cause
	Exchanges  []console.Exchange `json:"exchanges"`

	ledger bus.Ledger
}

// recordDefault is the command that is sent when none is given: SELECT MF.
const recordDefault = "00A40004023F00"

func newBusRecord() *cobra.Command {
	var (
		x       either
		link    string
		timeout time.Duration
		asJSON  bool
	)
	cmd := &cobra.Command{
		Use:   "record [flags] FILE.vcd [HEX...]",
		Short: "Write what happens on a simulated bus, bit by bit",
		Long: `Sends command APDUs over a simulated bus to an ephemeral platform in this process
and writes every edge of every line into a value change dump, which GTKWave and
PulseView open. Without commands it sends SELECT MF. It begins before the bus is
used, so that the activation is in it.

What the bus spent its time for is printed: bit times by cause.

Parameters of the bus: hz=, mode= (SPI), addr= (I2C), irq=off, reset=off, guard=10us.
What goes wrong on it: seed=, ber=, drop=, dup=, cut=, stuck=LINE:LEVEL:FROM:FOR, on
I2C also nack= and stretch=TIME:CHANCE. What is spoken: protocol=t1prime or shdlc.`,
		Example: `  sspemu bus record select.vcd
  sspemu bus record --link 'simi2c:x?hz=100000&stretch=1ms:0.1' select.vcd 00A40004023F00
  sspemu bus record --link 'simspi:x?protocol=shdlc&ber=1e-4&seed=7' noisy.vcd
  sigrok-cli -I vcd -i select.vcd -P spi:clk=SCK:mosi=MOSI:miso=MISO:cs=CS -A spi=mosi-data`,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) == 0 {
				return errors.New("bus record: no file given (for example sspemu bus record select.vcd)")
			}
			_, err := parseCommands(args[1:])
			return err
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			commands := args[1:]
			if len(commands) == 0 {
				commands = []string{recordDefault}
			}
			r, err := x.record(cmd, link, args[0], commands, timeout)
			if err != nil {
				return err
			}
			if asJSON {
				return printJSON(cmd.OutOrStdout(), r)
			}
			return r.print(cmd.OutOrStdout())
		},
	}
	f := cmd.Flags()
	f.StringVar(&link, "link", "simspi:record", "the bus, a `URL`: simspi:NAME or simi2c:NAME with parameters")
	f.DurationVar(&timeout, "timeout", 10*time.Second, "how long to wait for a card")
	f.BoolVar(&asJSON, "json", false, "print JSON")
	x.add(f)
	return cmd
}

// record has a conversation over a simulated bus and writes it to file.
func (x *either) record(cmd *cobra.Command, link, file string, commands []string, timeout time.Duration) (r recorded, err error) {
	u, err := transport.Parse(link)
	if err != nil {
		return r, usage(err)
	}
	w, leave, err := buslink.Join(u)
	if err != nil {
		return r, usage(err)
	}
	defer leave()
	if err := x.checkPair(link); err != nil { // before there is a file
		return r, err
	}
	out, err := os.Create(file)
	if err != nil {
		return r, fmt.Errorf("bus record: %w", err)
	}
	dump := bus.NewVCD(out, w)
	a, err := x.overBus(cmd, link, commands, timeout)
	w.Watch(nil)
	err = errors.Join(err, dump.Close(w.Clock().Now()), out.Close())
	if err != nil {
		return r, fmt.Errorf("bus record: %s: %w", link, err)
	}
	l := w.Ledger()
	r = recorded{
		Schema: console.SchemaVersion, Link: link, File: file, Hz: l.Hz, Time: w.Clock().Now(),
		Accesses: l.Accesses, Exchanges: a.Exchanges, BitTimes: map[string]float64{}, ledger: l,
	}
	for _, e := range a.Exchanges {
		r.Payload += int64(hex.DecodedLen(len(e.Command)) + hex.DecodedLen(len(e.Response)))
	}
	r.Efficiency = l.Efficiency(r.Payload)
	for c := bus.Data; c <= bus.Idle; c++ {
		if n := l.BitTimes(c); n != 0 {
			r.BitTimes[c.String()] = n
		}
	}
	return r, nil
}

func (x *either) overBus(cmd *cobra.Command, link string, commands []string, timeout time.Duration) (a console.APDUResponse, err error) {
	converse, _, end, err := x.terminal(cmd, link, timeout)
	if err != nil {
		return a, err
	}
	a, err = converse(cmd.Context(), console.APDURequest{APDUs: commands})
	return a, errors.Join(err, end())
}

func (r recorded) print(w io.Writer) error {
	if err := printExchanges(w, console.APDUResponse{Exchanges: r.Exchanges}); err != nil {
		return err
	}
	_, err := fmt.Fprintf(w, "\n%s\n%v of %s in %s (gtkwave %s, or pulseview -I vcd -i %s)\n",
		r.ledger.Report(r.Payload), r.Time, r.Link, r.File, r.File, r.File)
	return err
}
