package coap

import "github.com/plgd-dev/go-coap/v3/message/codes"

// Code is a method or response code (RFC 7252 12.1).
type Code = codes.Code

// Methods and response codes of RFC 7252 12.1 and RFC 7959 6.
const (
	GET    = codes.GET
	POST   = codes.POST
	PUT    = codes.PUT
	DELETE = codes.DELETE

	Created                  = codes.Created
	Deleted                  = codes.Deleted
	Valid                    = codes.Valid
	Changed                  = codes.Changed
	Content                  = codes.Content
	BadRequest               = codes.BadRequest
	Unauthorized             = codes.Unauthorized
	BadOption                = codes.BadOption
	Forbidden                = codes.Forbidden
	NotFound                 = codes.NotFound
	MethodNotAllowed         = codes.MethodNotAllowed
	NotAcceptable            = codes.NotAcceptable
	RequestEntityIncomplete  = codes.RequestEntityIncomplete
	PreconditionFailed       = codes.PreconditionFailed
	RequestEntityTooLarge    = codes.RequestEntityTooLarge
	UnsupportedContentFormat = codes.UnsupportedMediaType
	InternalServerError      = codes.InternalServerError
	NotImplemented           = codes.NotImplemented
	ServiceUnavailable       = codes.ServiceUnavailable
	ProxyingNotSupported     = codes.ProxyingNotSupported
)

// class is the class of a code: 0 request, 2 success, 4 and 5 error.
func class(c Code) Code { return c >> 5 }

// Format is a Content-Format (RFC 7252 12.3).
type Format uint16

// Content-Formats of RFC 7252 12.3 and RFC 8949.
const (
	Text        Format = 0
	LinkFormat  Format = 40
	OctetStream Format = 42
	JSON        Format = 50
	CBOR        Format = 60

	// NoFormat: the option is absent. The number is reserved.
	NoFormat Format = 0xFFFF
)
