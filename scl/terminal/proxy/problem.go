package proxy

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"

	"github.com/sspemu/sspemu/scl/terminal"
)

// problem is why a client gets no answer of the bundle (RFC 9457).
type problem struct {
	Type   string `json:"type"`
	Title  string `json:"title"`
	Status int    `json:"status"`
	Detail string `json:"detail"`

	retryAfter string // seconds; "" for none
}

func newProblem(status int, detail string) problem {
	return problem{Type: "about:blank", Title: http.StatusText(status), Status: status, Detail: detail}
}

// problemOf is what an error of the terminal means to a client.
func problemOf(err error) problem {
	switch {
	case errors.Is(err, terminal.ErrNoCard):
		return newProblem(http.StatusServiceUnavailable, "No bundle is active. Activate one (sspemu bundle activate NAME), then send the request again.").again()
	case errors.Is(err, terminal.ErrRemoved):
		return newProblem(http.StatusServiceUnavailable, "The bundle left before it had answered, because another one became active or it was restarted. Send the request again.").again()
	case errors.Is(err, terminal.ErrNoService):
		return newProblem(http.StatusServiceUnavailable, "The active bundle does not serve HTTP. Activate one that does (sspemu bundle activate NAME).")
	case errors.Is(err, terminal.ErrTimeout):
		return newProblem(http.StatusGatewayTimeout, "The bundle ran over its time and was stopped. The log of sspemu serve says which one.")
	case errors.Is(err, terminal.ErrReset):
		return newProblem(http.StatusBadGateway, "The bundle ended the connection instead of answering. The log of sspemu serve may say why.")
	}
	return newProblem(http.StatusBadGateway, "The bundle gave no answer that can be passed on. "+err.Error())
}

// bodyProblem is what an error of reading the body of the request means.
func bodyProblem(err error) problem {
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return newProblem(http.StatusRequestTimeout, fmt.Sprintf("Nothing of the body of the request came for %s.", slowTime))
	}
	return newProblem(http.StatusBadRequest, "The body of the request cannot be read. "+err.Error())
}

func (p problem) again() problem {
	p.retryAfter = "1"
	return p
}

// write is the answer.
func (p problem) write(w http.ResponseWriter) {
	b, err := json.Marshal(p)
	if err != nil {
		panic(err) // strings and a number
	}
	h := w.Header()
	h.Set("Content-Type", "application/problem+json")
	if p.retryAfter != "" {
		h.Set("Retry-After", p.retryAfter)
	}
	w.WriteHeader(p.Status)
	_, _ = w.Write(append(b, '\n')) // the client may be gone
}
