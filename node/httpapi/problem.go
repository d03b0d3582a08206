package httpapi

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"unicode"

	"github.com/skeinmesh/skein/node"
	"github.com/skeinmesh/skein/transport/event"
)

// Problem is an RFC 9457 problem document: the body of every answer of 400 and
// above. It is an error, so that handlers return it.
type Problem struct {
	Title  string         `json:"title"`
	Status int            `json:"status"`
	Detail string         `json:"detail"`
	Errors []ProblemError `json:"errors,omitempty"`
	// Outcome is unknown where what was asked for may have been done all the same:
	// a publish that is sent again is known as a duplicate then.
	Outcome string `json:"outcome,omitempty"`
	// Trimmed says what is still there, where that which was asked for is not.
	Trimmed *node.TrimmedError `json:"trimmed,omitempty"`
	// Missing are the regions of a stream that are out of reach.
	Missing []string `json:"missing,omitempty"`

	header http.Header // beside the document; nil when there is none
}

// ProblemError is one thing that is wrong with a request.
type ProblemError struct {
	Attribute string `json:"attribute,omitempty"` // of the event; "data"; or a query parameter
	Reason    string `json:"reason"`              // without more than 120 characters of input
	Index     *int   `json:"index,omitempty"`     // of the event in its batch, from 0
}

// Error is the detail.
func (p *Problem) Error() string { return p.Detail }

// problemf makes a problem; its detail is a sentence for people.
func problemf(status int, format string, args ...any) *Problem {
	return &Problem{Title: http.StatusText(status), Status: status, Detail: fmt.Sprintf(format, args...)}
}

// with adds a header to the answer.
func (p *Problem) with(name, value string) *Problem {
	if p.header == nil {
		p.header = http.Header{}
	}
	p.header.Set(name, value)
	return p
}

// parameter is the problem of a query parameter.
func parameter(name, format string, args ...any) *Problem {
	reason := fmt.Sprintf(format, args...)
	p := problemf(http.StatusBadRequest, "the parameter %s %s", name, reason)
	p.Errors = []ProblemError{{Attribute: name, Reason: reason}}
	return p
}

// unavailable is a 503: worth another try after some seconds.
func unavailable(reason string) *Problem {
	return problemf(http.StatusServiceUnavailable, "%s", reason).with("Retry-After", "1")
}

// problemOf is the problem that an error is to a client. Nil for an error that
// no input can cause: a bug.
func problemOf(err error) *Problem {
	var (
		problem *Problem
		batch   *event.InvalidBatchError
		invalid *event.InvalidError
	)
	switch {
	case errors.As(err, &problem):
		return problem
	case streamProblem(err) != nil:
		return streamProblem(err)
	case errors.As(err, &batch):
		p := problemf(http.StatusBadRequest, "%d of the batch's events are invalid, so none was taken", batch.Total)
		for _, e := range batch.Events {
			p.Errors = append(p.Errors, invalidErrors(e)...)
		}
		return p
	case errors.As(err, &invalid):
		p := problemf(http.StatusBadRequest, "%s", strings.TrimPrefix(invalid.Error(), "event: "))
		p.Errors = invalidErrors(invalid)
		return p
	case errors.Is(err, event.ErrTooLarge):
		return problemf(http.StatusRequestEntityTooLarge, "%s", strings.TrimPrefix(err.Error(), "event: "))
	case errors.Is(err, node.ErrNamespace):
		return problemf(http.StatusNotFound, "%s", strings.TrimPrefix(err.Error(), "node: "))
	case errors.Is(err, node.ErrOverloaded):
		return problemf(http.StatusTooManyRequests, "%s", strings.TrimPrefix(err.Error(), "node: ")).with("Retry-After", "1")
	case errors.Is(err, node.ErrSlow):
		return problemf(http.StatusGone, "the subscription has ended, as asked: %s", strings.TrimPrefix(err.Error(), "node: "))
	case errors.Is(err, node.ErrNotReady), errors.Is(err, node.ErrClosed):
		return unavailable(strings.TrimPrefix(err.Error(), "node: "))
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, context.Canceled):
		return unavailable("the request ended before the node was done with it")
	}
	return nil
}

// streamProblem is the problem that an error of streams is; nil for another.
func streamProblem(err error) *Problem {
	words := strings.TrimPrefix(err.Error(), "node: ")
	var trimmed *node.TrimmedError
	var lost *node.MissingError
	switch {
	case errors.As(err, &lost):
		p := unavailable(lost.Error() + "; ask for partial to read what can be read")
		p.Missing = lost.Regions
		return p
	case errors.As(err, &trimmed):
		p := problemf(http.StatusGone, "%s; from=earliest begins there", trimmed)
		p.Trimmed = trimmed
		return p
	case errors.Is(err, node.ErrPosition):
		return parameter("from", "does not say where to begin: %s", words)
	case errors.Is(err, node.ErrNoStream):
		return problemf(http.StatusNotFound, "%s", words)
	case errors.Is(err, node.ErrExists), errors.Is(err, node.ErrRefused):
		return problemf(http.StatusConflict, "%s", words)
	case errors.Is(err, node.ErrInvalid), errors.Is(err, node.ErrLimit):
		return problemf(http.StatusBadRequest, "%s", words)
	}
	var p *Problem
	switch {
	case errors.Is(err, node.ErrFull):
		p = problemf(http.StatusInsufficientStorage, "%s", words).with("Retry-After", "5")
	case errors.Is(err, node.ErrUnknown), errors.Is(err, node.ErrBusy), errors.Is(err, node.ErrNoLeader),
		errors.Is(err, node.ErrUnreachable), errors.Is(err, node.ErrNotKept):
		p = unavailable(words)
	default:
		return nil
	}
	if errors.Is(err, node.ErrUnknown) {
		p.Outcome = "unknown"
	}
	return p
}

func invalidErrors(e *event.InvalidError) []ProblemError {
	list := make([]ProblemError, len(e.Problems))
	for i, p := range e.Problems {
		list[i] = ProblemError{Attribute: p.Attr, Reason: p.Reason}
		if e.Index >= 0 {
			list[i].Index = &e.Index
		}
	}
	return list
}

// refuse answers with an error's problem document.
func (a *API) refuse(w *response, r *http.Request, err error) {
	p := a.problem(r, err)
	body, err := json.Marshal(p)
	if err != nil {
		a.log.Error("a problem document cannot be written", "err", err)
	}
	h := w.Header()
	for name, values := range p.header {
		h[name] = values
	}
	h.Set("Content-Type", "application/problem+json")
	h.Set("X-Content-Type-Options", "nosniff")
	w.WriteHeader(p.Status)
	if _, err := w.Write(append(body, '\n')); err != nil {
		a.log.Debug("an answer did not reach its client", "err", err)
	}
}

// problem is an error's problem; one that no input can cause is told in the log.
func (a *API) problem(r *http.Request, err error) *Problem {
	p := problemOf(err)
	if p == nil {
		a.log.Error("a request met a bug", "method", r.Method, "path", excerpt(r.URL.Path), "err", err)
		return problemf(http.StatusInternalServerError, "a bug in this node; its log has the details")
	}
	if r.Method == http.MethodGet {
		p.Outcome = "" // nothing was to be done
	}
	return p
}

// excerpt is input as it may be repeated: at most 80 characters, printable.
func excerpt(s string) string {
	var b strings.Builder
	for i, r := range []rune(s[:min(len(s), 400)]) {
		if i == 80 {
			b.WriteString("…")
			break
		}
		if !unicode.IsPrint(r) {
			r = '?'
		}
		b.WriteRune(r)
	}
	return b.String()
}
