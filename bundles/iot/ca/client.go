package ca

import (
	"bytes"
	"context"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"mime"
	"net/http"
	"strings"
)

// Client is the device's side of EST over HTTPS. Its HTTP has the trust anchors, and the
// certificate of the client where that is wanted.
type Client struct {
	URL   string // https://HOST:PORT, or with a path that ends in /.well-known/est and a label
	Basic string // USER:PASSWORD, or nothing
	HTTP  *http.Client
}

// maxAnswer bounds what a server answers.
const maxAnswer = 256 << 10

func (c Client) url(operation string) string {
	base := strings.TrimRight(c.URL, "/")
	if strings.Contains(base, strings.TrimRight(wellKnown, "/")) {
		return base + "/" + operation
	}
	return base + wellKnown + operation
}

// Enroll has a request certified: simpleenroll.
func (c Client) Enroll(ctx context.Context, request []byte) (*x509.Certificate, error) {
	return c.enroll(ctx, "simpleenroll", request)
}

// Reenroll has a certificate renewed, which the client of HTTP shows: simplereenroll.
func (c Client) Reenroll(ctx context.Context, request []byte) (*x509.Certificate, error) {
	return c.enroll(ctx, "simplereenroll", request)
}

func (c Client) enroll(ctx context.Context, operation string, request []byte) (*x509.Certificate, error) {
	l, err := c.ask(ctx, http.MethodPost, operation, []byte(base64.StdEncoding.EncodeToString(request)))
	if err != nil {
		return nil, err
	}
	r, err := x509.ParseCertificateRequest(request)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", operation, err)
	}
	for _, x := range l {
		if bytes.Equal(x.RawSubjectPublicKeyInfo, r.RawSubjectPublicKeyInfo) {
			return x, nil
		}
	}
	return nil, fmt.Errorf("%s: the answer has no certificate for the key of the request", operation)
}

// CACerts are the trust anchors of the authority: cacerts.
func (c Client) CACerts(ctx context.Context) ([]*x509.Certificate, error) {
	return c.ask(ctx, http.MethodGet, "cacerts", nil)
}

func (c Client) ask(ctx context.Context, method, operation string, body []byte) ([]*x509.Certificate, error) {
	r, err := http.NewRequestWithContext(ctx, method, c.url(operation), bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	if body != nil {
		r.Header.Set("Content-Type", typeRequest)
		r.Header.Set("Content-Transfer-Encoding", "base64")
	}
	if user, password, ok := strings.Cut(c.Basic, ":"); ok {
		r.SetBasicAuth(user, password)
	}
	client := c.HTTP
	if client == nil {
		client = http.DefaultClient
	}
	resp, err := client.Do(r)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", operation, err)
	}
	defer func() { _ = resp.Body.Close() }()
	b, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer+1))
	switch {
	case err != nil:
		return nil, fmt.Errorf("%s: %w", operation, err)
	case len(b) > maxAnswer:
		return nil, fmt.Errorf("%s: the answer is longer than %d octets", operation, maxAnswer)
	case resp.StatusCode == http.StatusAccepted:
		return nil, fmt.Errorf("%s: the authority has not decided yet (retry after %s)", operation, resp.Header.Get("Retry-After"))
	case resp.StatusCode != http.StatusOK:
		return nil, fmt.Errorf("%s: %s: %s", operation, resp.Status, reason(resp.Header, b))
	}
	if t, _, err := mime.ParseMediaType(resp.Header.Get("Content-Type")); err != nil || t != typeCerts {
		return nil, fmt.Errorf("%s: the answer is %q, not %s", operation, resp.Header.Get("Content-Type"), typeCerts)
	}
	der, err := base64.StdEncoding.DecodeString(string(bytes.Join(bytes.Fields(b), nil)))
	if err != nil {
		return nil, fmt.Errorf("%s: the answer is not base64", operation)
	}
	l, err := ParseCertsOnly(der)
	if err != nil {
		return nil, fmt.Errorf("%s: the answer: %w", operation, err)
	}
	return l, nil
}

// reason is what a server says about a refusal: the detail of a problem, or its first line.
func reason(h http.Header, body []byte) string {
	if t, _, _ := mime.ParseMediaType(h.Get("Content-Type")); strings.HasSuffix(t, "json") {
		var p struct{ Detail string }
		if json.Unmarshal(body, &p) == nil && p.Detail != "" {
			return p.Detail
		}
	}
	line, _, _ := strings.Cut(strings.TrimSpace(string(body)), "\n")
	return strings.ToValidUTF8(line[:min(len(line), 200)], "")
}
