package issuer

import (
	"bytes"
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"sort"
	"strconv"
	"strings"

	"github.com/sspemu/sspemu/bundles/payment/emv"
	"github.com/sspemu/sspemu/bundles/payment/profile"
	"github.com/sspemu/sspemu/bundles/payment/terminal"
)

// maxBody bounds a request.
const maxBody = 64 << 10

// authoriseRequest is the JSON of POST /authorise: bytes in hexadecimal, data elements
// by tag.
type authoriseRequest struct {
	PAN  string            `json:"pan"`
	PSN  byte              `json:"psn"`
	Data map[string]string `json:"data"`
	CDOL string            `json:"cdol"`
}

// authoriseAnswer is its answer.
type authoriseAnswer struct {
	Decision string `json:"decision"` // approve, decline
	ARC      string `json:"arc"`
	Reason   string `json:"reason"`
	Wrong    bool   `json:"wrong_cryptogram,omitempty"`
	Auth     string `json:"issuer_authentication_data,omitempty"`
	Scripts  string `json:"scripts,omitempty"`
}

// cardInfo is what GET /cards tells of a card: nothing secret.
type cardInfo struct {
	Name       string `json:"name"`
	AID        string `json:"aid"`
	PAN        string `json:"pan"` // masked
	Cryptogram string `json:"cryptogram"`
	LastATC    uint16 `json:"last_atc"`
	Approved   int    `json:"approved"`
	Declined   int    `json:"declined"`
	Wrong      int    `json:"wrong_cryptograms"`
	Queued     int    `json:"queued_scripts"`
}

// scriptRequest is the JSON of POST /cards/NAME/scripts.
type scriptRequest struct {
	Command string `json:"command"`
	When    string `json:"when"` // before, after the second GENERATE AC; default after
	PIN     string `json:"pin"`
	SFI     byte   `json:"sfi"`
	Record  byte   `json:"record"`
	Tag     string `json:"tag"`
	Data    string `json:"data"`
}

// ServeHTTP serves
//
//	POST /authorise            authoriseRequest -> authoriseAnswer
//	GET  /, GET /cards         the cards, masked
//	POST /cards/NAME/scripts   queues a script command
//
// Errors are application/problem+json (RFC 9457).
func (h *Host) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	path := strings.Trim(r.URL.Path, "/")
	name, isScript := strings.CutPrefix(path, "cards/")
	name, isScripts := strings.CutSuffix(name, "/scripts")
	switch {
	case path == "authorise":
		h.only(w, r, http.MethodPost, h.authorise)
	case path == "", path == "cards":
		h.only(w, r, http.MethodGet, h.list)
	case isScript && isScripts:
		h.only(w, r, http.MethodPost, func(w http.ResponseWriter, r *http.Request) { h.script(w, r, name) })
	default:
		problem(w, http.StatusNotFound, "there is nothing at "+r.URL.Path+"; POST /authorise, GET /cards and POST /cards/NAME/scripts are there")
	}
}

func (h *Host) only(w http.ResponseWriter, r *http.Request, method string, f http.HandlerFunc) {
	if r.Method != method && !(method == http.MethodGet && r.Method == http.MethodHead) {
		w.Header().Set("Allow", method)
		problem(w, http.StatusMethodNotAllowed, r.URL.Path+" takes "+method)
		return
	}
	f(w, r)
}

// problem is an error as RFC 9457 has it.
func problem(w http.ResponseWriter, status int, detail string) {
	w.Header().Set("Content-Type", "application/problem+json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(map[string]any{"title": http.StatusText(status), "status": status, "detail": detail})
}

func answer(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(v)
}

// read decodes a JSON body.
func read(w http.ResponseWriter, r *http.Request, v any) bool {
	if t, _, err := mime.ParseMediaType(r.Header.Get("Content-Type")); err != nil || t != "application/json" {
		problem(w, http.StatusUnsupportedMediaType, "the body is application/json (Content-Type)")
		return false
	}
	d := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxBody))
	d.DisallowUnknownFields()
	if err := d.Decode(v); err != nil {
		problem(w, http.StatusBadRequest, "the body: "+err.Error())
		return false
	}
	if _, err := d.Token(); err != io.EOF {
		problem(w, http.StatusBadRequest, "the body goes on behind the JSON object")
		return false
	}
	return true
}

func (h *Host) authorise(w http.ResponseWriter, r *http.Request) {
	var q authoriseRequest
	if !read(w, r, &q) {
		return
	}
	t := terminal.Request{PAN: q.PAN, PSN: q.PSN, Data: map[emv.Tag][]byte{}}
	for name, v := range q.Data {
		tag, err := strconv.ParseUint(name, 16, 24)
		if err != nil {
			problem(w, http.StatusBadRequest, fmt.Sprintf("data: %q is not a tag in hexadecimal", name))
			return
		}
		b, err := hex.DecodeString(v)
		if err != nil {
			problem(w, http.StatusBadRequest, "data: the value of "+name+" is not hexadecimal")
			return
		}
		t.Data[emv.Tag(tag)] = b
	}
	var err error
	if t.CDOL, err = hex.DecodeString(q.CDOL); err != nil {
		problem(w, http.StatusBadRequest, "cdol: is not hexadecimal")
		return
	}
	d, err := h.Decide(t)
	switch {
	case errors.Is(err, ErrUnknownCard):
		problem(w, http.StatusNotFound, err.Error())
	case err != nil:
		problem(w, http.StatusBadRequest, err.Error())
	default:
		a := authoriseAnswer{Decision: "decline", ARC: d.ARC, Reason: d.Reason, Wrong: d.Wrong, Auth: upper(d.Auth), Scripts: upper(d.Scripts)}
		if d.Approved {
			a.Decision = "approve"
		}
		answer(w, http.StatusOK, a)
	}
}

func upper(b []byte) string { return strings.ToUpper(hex.EncodeToString(b)) }

func (h *Host) list(w http.ResponseWriter, _ *http.Request) {
	h.mu.Lock()
	list := []cardInfo{}
	for name, c := range h.cards {
		list = append(list, cardInfo{
			Name: name, AID: upper(c.app.AID), PAN: profile.Masked(c.app.PAN), Cryptogram: c.app.Version.Name,
			LastATC: c.lastATC, Approved: c.counts[0], Declined: c.counts[1], Wrong: c.counts[2], Queued: len(c.queue),
		})
	}
	h.mu.Unlock()
	sort.Slice(list, func(i, j int) bool { return list[i].Name < list[j].Name })
	answer(w, http.StatusOK, map[string]any{"cards": list})
}

func (h *Host) script(w http.ResponseWriter, r *http.Request, name string) {
	var q scriptRequest
	if !read(w, r, &q) {
		return
	}
	s := Script{Command: q.Command, Before: q.When == "before", PIN: q.PIN, SFI: q.SFI, Record: q.Record}
	if q.When != "" && q.When != "before" && q.When != "after" {
		problem(w, http.StatusBadRequest, "when: is before or after (the second GENERATE AC)")
		return
	}
	var err error
	if s.Data, err = hex.DecodeString(q.Data); err != nil {
		problem(w, http.StatusBadRequest, "data: is not hexadecimal")
		return
	}
	if q.Tag != "" {
		tag, err := strconv.ParseUint(q.Tag, 16, 16)
		if err != nil {
			problem(w, http.StatusBadRequest, "tag: is not one of one or two bytes in hexadecimal")
			return
		}
		s.Tag = emv.Tag(tag)
	}
	switch err := h.Queue(name, s); {
	case errors.Is(err, ErrNoCard):
		problem(w, http.StatusNotFound, err.Error()+": "+strconv.Quote(name))
	case err != nil:
		problem(w, http.StatusBadRequest, err.Error())
	default:
		answer(w, http.StatusAccepted, map[string]string{"status": "queued for the next authorisation"})
	}
}

// Client is an issuer host somewhere else: a terminal.Issuer.
type Client struct {
	URL  string // of the host, without path
	HTTP *http.Client
}

// Authorise asks POST /authorise.
func (c Client) Authorise(ctx context.Context, r terminal.Request) (terminal.Response, error) {
	q := authoriseRequest{PAN: r.PAN, PSN: r.PSN, Data: map[string]string{}, CDOL: upper(r.CDOL)}
	for t, v := range r.Data {
		q.Data[fmt.Sprintf("%X", uint32(t))] = upper(v)
	}
	body, err := json.Marshal(q)
	if err != nil {
		return terminal.Response{}, err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, strings.TrimRight(c.URL, "/")+"/authorise", bytes.NewReader(body))
	if err != nil {
		return terminal.Response{}, err
	}
	req.Header.Set("Content-Type", "application/json")
	client := c.HTTP
	if client == nil {
		client = http.DefaultClient
	}
	resp, err := client.Do(req)
	if err != nil {
		return terminal.Response{}, fmt.Errorf("issuer: %w", err)
	}
	defer func() { _ = resp.Body.Close() }()
	b, err := io.ReadAll(io.LimitReader(resp.Body, maxBody))
	if err != nil {
		return terminal.Response{}, fmt.Errorf("issuer: %w", err)
	}
	if resp.StatusCode != http.StatusOK {
		var p struct{ Detail string }
		_ = json.Unmarshal(b, &p)
		return terminal.Response{}, fmt.Errorf("issuer: %s: %s", resp.Status, p.Detail)
	}
	var a authoriseAnswer
	if err := json.Unmarshal(b, &a); err != nil {
		return terminal.Response{}, fmt.Errorf("issuer: the answer: %w", err)
	}
	out := terminal.Response{ARC: a.ARC, Reason: a.Reason, Wrong: a.Wrong}
	if a.Auth != "" {
		if out.Auth, err = hex.DecodeString(a.Auth); err != nil {
			return out, fmt.Errorf("issuer: issuer_authentication_data: %w", err)
		}
	}
	if out.Scripts, err = hex.DecodeString(a.Scripts); err != nil {
		return out, fmt.Errorf("issuer: scripts: %w", err)
	}
	if len(out.ARC) != 2 {
		return out, fmt.Errorf("issuer: the response code %q is not two characters", a.ARC)
	}
	return out, nil
}
