// Package services is a bundle for tests and benchmarks of HTTP and CoAP, good
// services and bad ones. Its http.Handler is an ordinary one: net/http serves the
// same value natively, for comparison.
package services

import (
	"io"
	"net/http"
	"strconv"

	"github.com/sspemu/sspemu/bundles/sdk"
	"github.com/sspemu/sspemu/bundles/sdk/coap"
	"github.com/sspemu/sspemu/bundles/sdk/face"
	"github.com/sspemu/sspemu/bundles/sdk/web"
)

// Hello is what /hello says, by HTTP and by CoAP.
const Hello = "hello from the bundle\n"

// App is the bundle (sdk.App, sdk.Server).
type App struct {
	http  *http.ServeMux
	coap  *coap.Server
	count int
}

// New gives a bundle that is not started yet.
//
//	GET /          the face of a bundle         CoAP GET /        the same
//	GET /hello     Hello                        CoAP GET /hello   Hello
//	POST /count    adds 1, gives the count      CoAP POST /count  the same; GET is observable
//	POST /echo     the body                     CoAP POST /echo   the body
//	GET /bytes?n=  n octets
//	GET /panic     panics                       CoAP GET /panic   the same
//	GET /spin      does not end                 CoAP GET /spin    the same
//	GET /eat       takes all memory there is    CoAP GET /eat     the same
func New() *App {
	a := &App{http: http.NewServeMux(), coap: coap.New()}
	a.http.Handle("/", web.Face(describe))
	a.http.HandleFunc("GET /hello", func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, Hello) })
	a.http.HandleFunc("POST /echo", func(w http.ResponseWriter, r *http.Request) {
		if _, err := io.Copy(w, r.Body); err != nil {
			panic(http.ErrAbortHandler) // so that nobody takes a part for the whole
		}
	})
	a.http.HandleFunc("POST /count", func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, a.add()) })
	a.http.HandleFunc("GET /bytes", func(w http.ResponseWriter, r *http.Request) {
		n, _ := strconv.Atoi(r.FormValue("n"))
		var b [4096]byte
		for k := 0; n > 0; n -= k {
			k = min(n, len(b))
			if _, err := w.Write(b[:k]); err != nil {
				return
			}
		}
	})
	resource := func(path string, r coap.Resource) {
		r.Formats = []coap.Format{coap.Text}
		a.coap.Handle(path, r)
	}
	a.coap.Face(describe)
	resource("hello", coap.Resource{Get: func(_ *coap.Request, w *coap.Response) { w.Text(Hello) }})
	resource("count", coap.Resource{
		RT: "counter", Observable: true,
		Get:  func(_ *coap.Request, w *coap.Response) { w.Text(strconv.Itoa(a.count)) },
		Post: func(_ *coap.Request, w *coap.Response) { w.Text(a.add()) },
	})
	resource("echo", coap.Resource{Post: func(r *coap.Request, w *coap.Response) {
		w.Code = coap.Content
		w.Text(string(r.Payload))
	}})
	for name, f := range map[string]func(){"panic": func() { panic("as it was told") }, "spin": spin, "eat": eat} {
		a.http.HandleFunc("GET /"+name, func(http.ResponseWriter, *http.Request) { f() })
		resource(name, coap.Resource{Get: func(*coap.Request, *coap.Response) { f() }})
	}
	return a
}

// Handler is what is served by HTTP.
func (a *App) Handler() http.Handler { return a.http }

func (a *App) add() string {
	a.count++
	a.coap.Notify("count")
	return strconv.Itoa(a.count)
}

func spin() {
	for n := uint32(0); ; n++ {
		if n == 1<<31 {
			n = 0
		}
	}
}

func eat() {
	var all [][]byte
	for {
		all = append(all, make([]byte, 1<<20))
		all[len(all)-1][0] = 1
	}
}

func describe() face.Description {
	return face.Description{
		Name: "services", Title: "Services for tests and benchmarks", Standards: []string{"RFC 9110", "RFC 7252"},
		Persona:      []face.Field{{Name: "label", Value: "sspemu"}, {Name: "ICCID", Value: "8910100000000000008"}},
		PINs:         []face.PIN{{Name: "PIN", Enabled: true, Left: 3, Most: 3}},
		Counters:     []face.Counter{{Name: "counter", Value: 41}},
		Applications: []face.Application{{AID: []byte("\xF0SSPEMU\x01"), Label: "example"}},
	}
}

// Gates has both services.
func (a *App) Gates() sdk.Gates { return sdk.Gates{TCP: web.New(a.http), UDP: a.coap} }

// Personalise is not needed.
func (*App) Personalise(*sdk.Doc) error { return nil }

// Init has nothing to load.
func (*App) Init(sdk.Reason) error { return nil }

// APDU takes every command, and gives its data back.
func (*App) APDU(c *sdk.Command, r *sdk.Response) sdk.SW {
	r.Append(c.Data)
	return sdk.OK
}

// Signal has nothing to drop.
func (*App) Signal(sdk.Signal) {}
