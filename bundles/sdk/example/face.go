package example

import (
	"io"
	"net/http"
	"slices"
	"strconv"

	"github.com/sspemu/sspemu/bundles/sdk"
	"github.com/sspemu/sspemu/bundles/sdk/face"
	"github.com/sspemu/sspemu/bundles/sdk/web"
)

// Gates are the services beside UICC APDU: HTTP at the TCP gate. Any http.Handler
// can be there.
func (a *App) Gates() sdk.Gates {
	pages := http.NewServeMux()
	pages.Handle("/", web.Face(a.describe))
	pages.HandleFunc("/counter", a.counter)
	return sdk.Gates{TCP: web.New(pages)}
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
