// Package console is the control API of a running emulator: JSON over HTTP on
// loopback, and the client that the command line uses.
//
//	sspemu apdu, bundle, wait ── Client ──> HTTP 127.0.0.1:7816 ──> Server ──> Emulator
//
// Client is an Emulator as well, so that a command does the same with an emulator
// that runs elsewhere and with one in its own process.
//
// It is for the person at the workstation, not a service of the SSP: no SCL
// packet comes from here but those of the terminal that POST /apdu plays. Errors
// are application/problem+json (RFC 9457). docs/api.md is its reference.
package console

import (
	"context"
	"time"
)

// SchemaVersion of every JSON document of the API and of --json.
const SchemaVersion = 1

// DefaultAddress is where the API listens.
const DefaultAddress = "127.0.0.1:7816"

// prefix of all paths.
const prefix = "/api/v1"

// Status of the emulator.
type Status struct {
	Schema  int      `json:"schema"`
	Version string   `json:"version"`
	Ready   bool     `json:"ready"`
	PID     int      `json:"pid"`
	Class   string   `json:"class"`  // SSPClass: integrated, embedded1, embedded2, removable
	Active  string   `json:"active"` // name of the active bundle, "" for none
	Policy  string   `json:"inactive"`
	State   string   `json:"state"` // directory, "" when ephemeral
	Clock   string   `json:"clock"` // real, virtual
	Links   []string `json:"links"` // URLs
	API     string   `json:"api"`   // address
	Services
	Profile string `json:"profile"`
	Memory  uint64 `json:"memory"` // of the process in bytes
	Seq     uint64 `json:"seq"`    // number of the last event
}

// Services are the addresses at which clients reach the active bundle, "" for off.
type Services struct {
	HTTP  string `json:"http"`
	CoAP  string `json:"coap"`
	CoAPS string `json:"coaps"`
}

// Bundle is a Secondary Platform Bundle on the platform.
type Bundle struct {
	Name      string   `json:"name"`
	ID        string   `json:"id"`     // firmware identifier, UUID
	Family    string   `json:"family"` // firmware family identifier, UUID
	Title     string   `json:"title,omitempty"`
	Version   string   `json:"version"`
	Type      string   `json:"type"`
	State     string   `json:"state"`  // disabled, enabled, active
	Origin    string   `json:"origin"` // built-in, installed
	Standards []string `json:"standards,omitempty"`
	NVM       int      `json:"nvm"`               // bytes in use
	Problem   string   `json:"problem,omitempty"` // why it cannot run
}

// Bundles is the list of all.
type Bundles struct {
	Schema  int      `json:"schema"`
	Bundles []Bundle `json:"bundles"`
}

// APDURequest asks for C-APDUs to be sent in this order to the active bundle, over
// a terminal of the API that keeps its power between requests.
type APDURequest struct {
	Reset string   `json:"reset,omitempty"` // cold, warm or "": none
	APDUs []string `json:"apdus"`           // hexadecimal
	// Raw leaves 61XX and 6CXX to the caller; else GET RESPONSE fetches what waits,
	// and a command with the wrong Le is sent again with the right one.
	Raw bool `json:"raw,omitempty"`
}

// APDUResponse is what came of it.
type APDUResponse struct {
	Schema    int        `json:"schema"`
	ATR       string     `json:"atr,omitempty"` // after a reset
	Exchanges []Exchange `json:"exchanges"`
}

// Exchange is one command and its response.
type Exchange struct {
	Command  string `json:"command"`
	Response string `json:"response"` // data and status word
	Name     string `json:"name"`     // of the instruction
	SW       string `json:"sw"`
	Words    string `json:"words"` // the status word in words
}

// Event is something that happened: "ready", "activated", "fault", or what a bundle
// tells by a name of its own.
type Event struct {
	Seq    uint64        `json:"seq"`
	Time   time.Duration `json:"nanoseconds"` // since the platform started, by its clock
	Name   string        `json:"name"`
	Bundle string        `json:"bundle,omitempty"`
	ID     string        `json:"id,omitempty"` // firmware identifier of the bundle
	Detail string        `json:"detail,omitempty"`
}

// ProfileEntry is one code point of the SCL profile.
type ProfileEntry struct {
	Name       string `json:"name"`
	Value      int    `json:"value"`
	Source     string `json:"source"`
	Confidence string `json:"confidence"`
	Note       string `json:"note,omitempty"`
}

// Profile is the SCL profile.
type Profile struct {
	Schema      int            `json:"schema"`
	Name        string         `json:"name"`
	Provisional bool           `json:"provisional"`
	Entries     []ProfileEntry `json:"entries"`
}

// Emulator is what the API offers. The server hands errors to the other end by
// their text; one with a method Status() int chooses the HTTP status.
type Emulator interface {
	Status(ctx context.Context) (Status, error)
	Bundles(ctx context.Context) ([]Bundle, error)
	// Install stores a package; name is that of its file.
	Install(ctx context.Context, name string, spb []byte) (Bundle, error)
	// Lifecycle carries out one of the verbs enable, disable, activate, delete.
	Lifecycle(ctx context.Context, verb, id string) error
	APDU(ctx context.Context, q APDURequest) (APDUResponse, error)
	Profile(ctx context.Context) (Profile, error)
	// Events calls f for what happened after the event number since, as far as it is
	// remembered, and for what happens, until f says stop or ctx ends.
	Events(ctx context.Context, since uint64, f func(Event) (stop bool)) error
}
