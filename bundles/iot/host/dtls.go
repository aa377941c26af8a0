package host

import (
	"crypto/tls"
	"crypto/x509"

	"github.com/pion/dtls/v3"
)

// suites for DTLS: that of CoAP (RFC 7252 9.1.3.2) and those with GCM; the last one for a
// peer with an RSA key.
var suites = []dtls.CipherSuiteID{
	dtls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256, dtls.TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384,
	dtls.TLS_ECDHE_ECDSA_WITH_AES_128_CCM, dtls.TLS_ECDHE_ECDSA_WITH_AES_128_CCM_8,
	dtls.TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256, dtls.TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384,
}

// DTLS configures a DTLS 1.2 client of pion/dtls, and with it go-coap's: id is that of
// Certificate, so that the key stays in the applet. Random numbers are the library's.
func DTLS(id tls.Certificate, roots *x509.CertPool, server string) []dtls.ClientOption {
	return []dtls.ClientOption{
		dtls.WithCertificates(id), dtls.WithRootCAs(roots), dtls.WithServerName(server),
		dtls.WithCipherSuites(suites...), dtls.WithExtendedMasterSecret(dtls.RequireExtendedMasterSecret),
	}
}

// DTLSServer configures a server that takes clients with a certificate of clients.
func DTLSServer(id tls.Certificate, clients *x509.CertPool) []dtls.ServerOption {
	return []dtls.ServerOption{
		dtls.WithCertificates(id), dtls.WithClientCAs(clients), dtls.WithClientAuth(dtls.RequireAndVerifyClientCert),
		dtls.WithCipherSuites(suites...), dtls.WithExtendedMasterSecret(dtls.RequireExtendedMasterSecret),
	}
}
