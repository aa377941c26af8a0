package loader

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/google/uuid"
)

// ABI is the version of the bundle ABI that this loader speaks. A package may ask
// for an older minor version.
const ABI = "1.3"

// speaks tells whether a bundle for that version of the ABI can run.
func speaks(abi string) bool { return abi == "1.0" || abi == "1.1" || abi == "1.2" || abi == ABI }

// TypeApp is the only firmware type (VPP table 7-6) that can be a bundle.
const TypeApp = "APP"

// Who joins the parts of a command that comes in a chain (ISO/IEC 7816-4 5.3.3): the
// platform, which hands on the whole command, or the bundle, whose protocols answer each
// part (GENERAL AUTHENTICATE of PACE).
const (
	ChainedByPlatform = "platform"
	ChainedByBundle   = "bundle"
)

// Manifest describes a bundle. The fields are those of a VPP firmware descriptor
// and what a card shows of itself; in JSON they are written with their lower-case
// names and nothing else is allowed.
type Manifest struct {
	ABI       string   `json:"abi"`                 // "1.0" to "1.3"
	Name      string   `json:"name"`                // short name: a-z, 0-9 and -, up to 32
	Title     string   `json:"title,omitempty"`     // for people
	ID        UUID     `json:"id"`                  // firmware identifier, UUID version 4
	Family    UUID     `json:"family"`              // firmware family identifier, UUID version 4
	Version   string   `json:"version"`             // "major.minor", each 0 to 255
	Type      string   `json:"type"`                // TypeApp
	ATR       HexBytes `json:"atr,omitempty"`       // whole ATR with TCK; empty: the platform's
	Standards []string `json:"standards,omitempty"` // what the bundle follows
	Chaining  string   `json:"chaining,omitempty"`  // who joins chained commands: "platform" (as when it is absent) or "bundle"
}

// UUID is a UUID_t of VPP: 128 bits, written in the form of RFC 9562.
type UUID [16]byte

// String is the 36 characters with lower-case digits.
func (u UUID) String() string { return uuid.UUID(u).String() }

// MarshalText writes String.
func (u UUID) MarshalText() ([]byte, error) { return []byte(u.String()), nil }

// UnmarshalText reads the 36 characters of a UUID of version 4.
func (u *UUID) UnmarshalText(text []byte) error {
	id, err := uuid.ParseBytes(text)
	if err != nil || len(text) != 36 || id.Version() != 4 || id.Variant() != uuid.RFC4122 {
		return fmt.Errorf("%q is not a UUID of version 4 (VPP UUID_t)", text)
	}
	*u = UUID(id)
	return nil
}

// HexBytes are bytes that JSON writes as hexadecimal text.
type HexBytes []byte

// MarshalText writes upper-case digits.
func (h HexBytes) MarshalText() ([]byte, error) {
	return []byte(strings.ToUpper(hex.EncodeToString(h))), nil
}

// UnmarshalText reads digits of either case; spaces between them do not matter.
func (h *HexBytes) UnmarshalText(text []byte) error {
	b, err := hex.DecodeString(strings.ReplaceAll(string(text), " ", ""))
	if err != nil {
		return errors.New("is not hexadecimal, two digits a byte")
	}
	*h = b
	return nil
}

// manifestFields are the names a manifest may use, the first six of which it
// must.
var manifestFields = []string{"abi", "name", "id", "family", "version", "type", "title", "atr", "standards", "chaining"}

// ParseManifest reads a manifest: strictly, and errors name the field.
func ParseManifest(b []byte) (Manifest, error) {
	m, err := readManifest(b)
	if err != nil {
		return Manifest{}, fmt.Errorf("%w: %w", ErrManifest, err)
	}
	return m, nil
}

func readManifest(b []byte) (m Manifest, err error) {
	fields, err := members(b)
	if err != nil {
		return m, err
	}
	if raw, ok := fields["abi"]; ok { // first: the rest may be of another version
		if err := json.Unmarshal(raw, &m.ABI); err != nil {
			return m, fmt.Errorf("abi: %w", plain(err))
		}
		if !speaks(m.ABI) {
			return m, fmt.Errorf("abi: the bundle is for ABI %q, this platform speaks %s", m.ABI, ABI)
		}
	}
	for _, name := range manifestFields[:6] {
		if _, ok := fields[name]; !ok {
			return m, fmt.Errorf("lacks %s", name)
		}
	}
	into := map[string]any{
		"abi": &m.ABI, "name": &m.Name, "id": &m.ID, "family": &m.Family, "version": &m.Version,
		"type": &m.Type, "title": &m.Title, "atr": &m.ATR, "standards": &m.Standards, "chaining": &m.Chaining,
	}
	for _, name := range manifestFields {
		if raw, ok := fields[name]; ok {
			if err := json.Unmarshal(raw, into[name]); err != nil {
				return m, fmt.Errorf("%s: %w", name, plain(err))
			}
		}
	}
	return m, m.check()
}

// members is the object in b, each name once.
func members(b []byte) (map[string]json.RawMessage, error) {
	d := json.NewDecoder(bytes.NewReader(b))
	if t, err := d.Token(); err != nil || t != json.Delim('{') {
		return nil, errors.New("is not a JSON object")
	}
	fields := map[string]json.RawMessage{}
	for d.More() {
		t, err := d.Token()
		if err != nil {
			return nil, plain(err)
		}
		name, _ := t.(string)
		if !slices.Contains(manifestFields, name) {
			return nil, fmt.Errorf("%q is not a field of a manifest", name)
		}
		if _, twice := fields[name]; twice {
			return nil, fmt.Errorf("%s is there twice", name)
		}
		var raw json.RawMessage
		if err := d.Decode(&raw); err != nil {
			return nil, plain(err)
		}
		fields[name] = raw
	}
	if _, err := d.Token(); err != nil {
		return nil, plain(err)
	}
	if _, err := d.Token(); err != io.EOF {
		return nil, errors.New("something follows the JSON object")
	}
	return fields, nil
}

// plain takes the name of the library off its errors.
func plain(err error) error {
	var t *json.UnmarshalTypeError
	if errors.As(err, &t) {
		return fmt.Errorf("a %s is not allowed here", t.Value)
	}
	if err == io.EOF || err == io.ErrUnexpectedEOF {
		return errors.New("the JSON ends too early")
	}
	return errors.New(strings.TrimPrefix(err.Error(), "json: "))
}

var validName = regexp.MustCompile(`^[a-z][a-z0-9-]{0,31}$`)

// check holds the values against their ranges.
func (m *Manifest) check() error {
	switch {
	case !validName.MatchString(m.Name):
		return fmt.Errorf("name: %q: a lower-case letter, then letters, digits and -, up to 32 in all", m.Name)
	case m.Type != TypeApp:
		return fmt.Errorf("type: %q: only %s can be a bundle (VPP table 7-6)", m.Type, TypeApp)
	case len(m.Title) > 200:
		return errors.New("title: longer than 200 bytes")
	case m.Chaining != "" && m.Chaining != ChainedByPlatform && m.Chaining != ChainedByBundle:
		return fmt.Errorf("chaining: %q: %s or %s", m.Chaining, ChainedByPlatform, ChainedByBundle)
	}
	major, minor, ok := strings.Cut(m.Version, ".")
	if !ok || !isByte(major) || !isByte(minor) {
		return fmt.Errorf("version: %q is not major.minor, each 0 to 255", m.Version)
	}
	if len(m.ATR) > 0 {
		if err := checkATR(m.ATR); err != nil {
			return fmt.Errorf("atr: %w", err)
		}
	}
	return nil
}

func isByte(s string) bool {
	n, err := strconv.ParseUint(s, 10, 8)
	return err == nil && strconv.FormatUint(n, 10) == s
}

// checkATR walks an answer to reset (ISO/IEC 7816-3 8.2): the length must be
// what T0 and the TDi say, and TCK, present when a protocol other than T=0 is
// offered, must make the exclusive-or from T0 on zero.
func checkATR(a []byte) error {
	if len(a) < 2 || len(a) > 33 || a[0] != 0x3B && a[0] != 0x3F {
		return errors.New("has 2 to 33 bytes and begins with 3B or 3F")
	}
	historical, y, at, tck := int(a[1]&0x0F), a[1]>>4, 2, false
	for y != 0 {
		at += int(y&1 + y>>1&1 + y>>2&1)
		if y&8 == 0 {
			break
		}
		if at >= len(a) {
			return errors.New("ends within the interface bytes")
		}
		tck = tck || a[at]&0x0F != 0
		y = a[at] >> 4
		at++
	}
	want := at + historical
	if tck {
		want++
	}
	if len(a) != want {
		return fmt.Errorf("is %d bytes; T0 and TD ask for %d", len(a), want)
	}
	if tck {
		var x byte
		for _, b := range a[1:] {
			x ^= b
		}
		if x != 0 {
			return fmt.Errorf("TCK is %02X; %02X is right", a[len(a)-1], a[len(a)-1]^x)
		}
	}
	return nil
}

// encode is the manifest as it stands in a package: compact, fields in the order
// of the struct.
func (m Manifest) encode() []byte {
	b, err := json.Marshal(m)
	if err != nil { // strings, bytes and UUIDs always encode
		panic(err)
	}
	return b
}
