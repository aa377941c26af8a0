package example

import (
	"io"
	"net/http"
	"slices"
	"strconv"

	"github.com/sspemu/sspemu/bundles/sdk"
	"github.com/sspemu/sspemu/bundles/sdk/coap"
	"github.com/sspemu/sspemu/bundles/sdk/face"
	"github.com/sspemu/sspemu/bundles/sdk/web"
)

// Gates are the services beside UICC APDU: HTTP at the TCP gate, where any
// http.Handler can be, and CoAP at the UDP gate.
func (a *App) Gates() sdk.Gates {
	pages := http.NewServeMux()
	pages.Handle("/", web.Face(a.describe))
	pages.HandleFunc("/counter", a.counter)
	pages.HandleFunc("POST /echo", echo)
	pages.HandleFunc("GET /bytes", octets)
	things := coap.New()
	things.Face(a.describe)
	things.Handle("counter", coap.Resource{Title: "the counter", RT: "counter", Formats: []coap.Format{coap.Text}, Get: a.shown, Post: a.counted})
	things.Handle("note", coap.Resource{
		Title: "a text that is kept", Formats: []coap.Format{coap.Text}, Takes: []coap.Format{coap.Text}, MaxBody: maxNote,
		Observable: true, Get: readNote, Put: func(r *coap.Request, w *coap.Response) {
			if err := sdk.NVM.Put(keyNote, r.Payload); err != nil {
				w.Fail(coap.InternalServerError, err.Error())
				return
			}
			things.Notify("note")
		},
	})
	return sdk.Gates{TCP: web.New(pages), UDP: things, Files: files{a}}
}

// shown and counted are GET and POST of the CoAP resource /counter.
func (a *App) shown(_ *coap.Request, w *coap.Response) { w.Text(strconv.Itoa(a.value())) }

func (a *App) counted(r *coap.Request, w *coap.Response) {
	if a.count(1) != sdk.OK {
		w.Fail(coap.Forbidden, "the counter is at its end")
		return
	}
	a.shown(r, w)
}

// counter is the page /counter: GET shows the counter, POST counts. What a request
// wrote is stored before the answer leaves, as with a command.
func (a *App) counter(w http.ResponseWriter, r *http.Request) {
	switch r.Method {
	case http.MethodGet, http.MethodHead:
	case http.MethodPost:
		if a.count(1) != sdk.OK {
			web.Problem(w, http.StatusConflict, "the counter is at its end")
			return
		}
	default:
		w.Header().Set("Allow", "GET, HEAD, POST")
		web.Problem(w, http.StatusMethodNotAllowed, "")
		return
	}
	w.Header().Set("Content-Type", "text/plain")
	_, _ = io.WriteString(w, strconv.Itoa(a.value())+"\n")
}

// echo sends the body back as it comes: neither side holds more than the window of
// the connection.
func echo(w http.ResponseWriter, r *http.Request) {
	_ = http.NewResponseController(w).EnableFullDuplex() // of HTTP/1.1: the answer begins before the request has ended
	w.Header().Set("Content-Type", "application/octet-stream")
	_, _ = io.Copy(w, r.Body)
}

// octets sends as many as the query n asks for: 0 1 2 ... 255 0 1 ...
func octets(w http.ResponseWriter, r *http.Request) {
	n, err := strconv.Atoi(r.URL.Query().Get("n"))
	if err != nil || n < 0 {
		web.Problem(w, http.StatusBadRequest, "n is how many octets are wanted")
		return
	}
	w.Header().Set("Content-Type", "application/octet-stream")
	w.Header().Set("Content-Length", strconv.Itoa(n))
	var piece [4096]byte
	for i := range piece {
		piece[i] = byte(i)
	}
	for n > 0 {
		k, err := w.Write(piece[:min(n, len(piece))])
		if err != nil {
			return
		}
		n -= k
	}
}

// The CoAP resource /note.
const (
	keyNote = "note"
	maxNote = 4096
)

func readNote(_ *coap.Request, w *coap.Response) {
	note, _ := sdk.NVM.Get(keyNote)
	w.Send(coap.Text, note)
}

// value is what the counter is at.
func (a *App) value() int {
	var v [4]byte
	_, _ = sdk.NVM.Read(keyCounter, 0, v[:])
	return int(v[0])<<24 | int(v[1])<<16 | int(v[2])<<8 | int(v[3])
}

// describe is what everybody may know.
func (a *App) describe() face.Description {
	label, _ := sdk.NVM.Get(keyLabel)
	var tries [2]byte
	_, _ = sdk.NVM.Read(keyTries, 0, tries[:])
	return face.Description{
		Name:      "example",
		Title:     "First bundle: a counter behind a PIN",
		Standards: []string{"ISO/IEC 7816-4"},
		Persona:   []face.Field{{Name: "label", Value: string(label)}},
		PINs: []face.PIN{{
			Name: "PIN", Enabled: true, Verified: slices.Contains(a.verified[:], true),
			Left: int(tries[0]), Most: int(tries[1]),
		}},
		Counters:     []face.Counter{{Name: "counter", Value: int64(a.value())}},
		Applications: []face.Application{{AID: AID, Label: string(label)}},
	}
}
