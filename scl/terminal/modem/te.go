package modem

import (
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/sspemu/sspemu/internal/apdu"
)

// TE is the terminal equipment in front of a modem: it sends command lines. It may be used
// by several goroutines.
type TE struct {
	rw io.ReadWriteCloser
	mu sync.Mutex
	in []byte // what came and was not read
}

// CommandError is a command line that the modem did not carry out.
type CommandError struct {
	Line   string
	Result string // "ERROR", "+CME ERROR: 10"
}

func (e *CommandError) Error() string {
	return fmt.Sprintf("modem: %s: %s", abridged(e.Line), e.Result)
}

// cme is the number of the error, -1 if it has none.
func (e *CommandError) cme() CME {
	n, err := strconv.Atoi(strings.TrimPrefix(e.Result, "+CME ERROR: "))
	if err != nil {
		return -1
	}
	return CME(n)
}

func abridged(s string) string {
	if len(s) > 40 {
		return s[:40] + "..."
	}
	return s
}

// answerTime is how long a modem may take, which is longer than what it gives its card.
const answerTime = cardTime + 5*time.Second

// greeting bounds how long a modem may take for its first answers.
const greeting = 5 * time.Second

// NewTE takes over a port of a modem, whatever was under way there: a line that was begun
// is ended, and answers to others are passed over.
func NewTE(ctx context.Context, rw io.ReadWriteCloser) (*TE, error) {
	t := &TE{rw: rw}
	ctx, cancel := context.WithTimeout(ctx, greeting)
	defer cancel()
	for _, c := range []struct{ line, wants string }{{"\rATE0Q0V1", ""}, {"AT+CMEE=1", ""}, {"AT+CMEE?", "+CMEE: 1"}} {
		if _, err := t.command(ctx, c.line, c.wants); err != nil && !errors.As(err, new(*CommandError)) {
			return nil, err
		}
	}
	return t, nil
}

// Close gives the port back.
func (t *TE) Close() error { return t.rw.Close() }

// Command sends a command line and gives the lines of its answer, without the result code;
// an error for one other than OK is a *CommandError.
func (t *TE) Command(ctx context.Context, line string) ([]string, error) {
	return t.command(ctx, line, "")
}

// command: results before a line that is wanted are those of others.
func (t *TE) command(ctx context.Context, line, wants string) ([]string, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	ctx, cancel := context.WithTimeout(ctx, answerTime)
	defer cancel()
	if d, ok := t.rw.(interface{ SetDeadline(time.Time) error }); ok {
		_ = d.SetDeadline(time.Time{})
		defer context.AfterFunc(ctx, func() { _ = d.SetDeadline(time.Unix(1, 0)) })()
	}
	t.in = t.in[:0] // what came without being asked for
	if _, err := t.rw.Write([]byte(line + "\r")); err != nil {
		return nil, t.silent(ctx, line, err)
	}
	var lines []string
	for total := 0; ; {
		s, err := t.line()
		if err != nil {
			return nil, t.silent(ctx, line, err)
		}
		if total += len(s); total > maxReply {
			return nil, fmt.Errorf("modem: %s: the answer does not end after %d characters", abridged(line), total)
		}
		switch {
		case s == "", s == strings.TrimPrefix(line, "\r"): // the echo
		case s == wants:
			wants = ""
		case wants != "":
		case s == "OK":
			return lines, nil
		case s == "ERROR", strings.HasPrefix(s, "+CME ERROR:"), strings.HasPrefix(s, "+CMS ERROR:"):
			return nil, &CommandError{line, s}
		default:
			lines = append(lines, s)
		}
	}
}

// maxReply bounds what is kept of an answer: an APDU of 64 KiB in hexadecimal, and more.
const maxReply = 1 << 18

func (t *TE) silent(ctx context.Context, line string, err error) error {
	if errors.Is(err, os.ErrDeadlineExceeded) {
		if err = ctx.Err(); errors.Is(err, context.DeadlineExceeded) {
			err = errors.New("no answer (is it a modem's port for AT commands?)")
		}
	}
	return fmt.Errorf("modem: %s: %w", abridged(strings.TrimSpace(line)), err)
}

// line is the next line that comes, without its end.
func (t *TE) line() (string, error) {
	for {
		if i := bytes.IndexAny(t.in, "\r\n"); i >= 0 {
			s := string(t.in[:i])
			t.in = t.in[i+1:]
			return s, nil
		}
		if len(t.in) > maxReply {
			return "", errors.New("a line that does not end")
		}
		var b [4096]byte
		n, err := t.rw.Read(b[:])
		t.in = append(t.in, b[:n]...)
		if n == 0 && err != nil {
			return "", err
		}
	}
}

// answered finds the R-APDU in `NAME: <length>,"<response>"`.
func answered(name string, lines []string) ([]byte, error) {
	for _, l := range lines {
		if v, ok := strings.CutPrefix(l, name+":"); ok {
			_, v, _ = strings.Cut(v, ",")
			b, err := hex.DecodeString(strings.Trim(v, ` "`))
			if err != nil || len(b) < 2 {
				return nil, fmt.Errorf("modem: %s is no answer of a card", abridged(l))
			}
			return b, nil
		}
	}
	return nil, fmt.Errorf("modem: there is no %s in the answer", name)
}

// CSIM is the card behind a modem, by AT+CSIM: as it is, with all its logical channels.
type CSIM struct{ *TE }

// Transmit sends a C-APDU and gives the R-APDU.
func (c CSIM) Transmit(ctx context.Context, capdu, dst []byte) ([]byte, error) {
	lines, err := c.Command(ctx, fmt.Sprintf(`AT+CSIM=%d,"%X"`, 2*len(capdu), capdu))
	if err != nil {
		return nil, err
	}
	b, err := answered("+CSIM", lines)
	return append(dst, b...), err
}

// CGLA is the card behind a modem, by AT+CCHO and AT+CGLA: the modem has the logical
// channel. SELECT of an application opens one and closes the last one; other commands go
// there.
type CGLA struct {
	*TE
	session string
}

// Transmit sends a C-APDU and gives the R-APDU. That an application is not there is 6A82.
func (c *CGLA) Transmit(ctx context.Context, capdu, dst []byte) ([]byte, error) {
	if x, err := apdu.Parse(capdu); err == nil && x.CLA == 0 && x.INS == selectFile && x.P1 == 4 {
		sw, err := c.open(ctx, x.Data)
		return sw.Append(dst), err
	}
	if c.session == "" {
		return nil, errors.New("modem: AT+CGLA needs a session (SELECT an application first)")
	}
	lines, err := c.Command(ctx, fmt.Sprintf(`AT+CGLA=%s,%d,"%X"`, c.session, 2*len(capdu), capdu))
	if err != nil {
		return nil, err
	}
	b, err := answered("+CGLA", lines)
	return append(dst, b...), err
}

func (c *CGLA) open(ctx context.Context, aid []byte) (apdu.SW, error) {
	if err := c.hangUp(ctx); err != nil {
		return 0, err
	}
	lines, err := c.Command(ctx, fmt.Sprintf(`AT+CCHO="%X"`, aid))
	var refused *CommandError
	switch {
	case errors.As(err, &refused) && !slices.Contains([]CME{SIMNotInserted, SIMFailure, MemoryFull}, refused.cme()):
		return apdu.FileNotFound, nil // modems have all kinds of numbers for it
	case err != nil:
		return 0, err
	}
	for _, l := range lines { // some give the number alone
		if v := strings.TrimSpace(strings.TrimPrefix(l, "+CCHO:")); v != "" && strings.Trim(v, "0123456789abcdefABCDEF") == "" {
			c.session = v
			return apdu.OK, nil
		}
	}
	return 0, errors.New("modem: the answer to AT+CCHO has no session")
}

func (c *CGLA) hangUp(ctx context.Context) error {
	if c.session == "" {
		return nil
	}
	s := c.session
	c.session = ""
	_, err := c.Command(ctx, "AT+CCHC="+s)
	return err
}

// Close closes the session and the port.
func (c *CGLA) Close() error {
	return errors.Join(c.hangUp(context.Background()), c.TE.Close())
}
