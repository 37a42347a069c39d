// Package problem has the error answers of all HTTP interfaces here: application/problem+json (RFC 9457) with a stable code.
package problem

import (
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"

	"github.com/waxwing-dm/waxwing/internal/strictjson"
)

// ContentType of a problem.
const ContentType = "application/problem+json"

const (
	maxProblem    = 2 << 20 // a refused commit's problem carries what its sender missed
	maxDetail     = 500     // characters
	maxRetryAfter = 7 * 24 * 60 * 60
)

// Problem is an error with an answer for the other side. What it says may be shown to anybody who can call the interface.
type Problem struct {
	Status     int
	Code       string // stable, for programs
	Detail     string // one sentence for people
	Retry      bool   // the same request may succeed later
	RetryAfter int    // seconds; 0 leaves it open
	Extra      map[string]any
}

// New makes a problem. Whether to retry follows from the status and may be changed.
func New(status int, code, detail string, args ...any) *Problem {
	return &Problem{Status: status, Code: code, Detail: fmt.Sprintf(detail, args...), Retry: Retryable(status)}
}

// Retryable says which statuses ask for another try (spec/wire.md).
func Retryable(status int) bool {
	switch status {
	case http.StatusRequestTimeout, http.StatusTooEarly, http.StatusTooManyRequests:
		return true
	}
	return status >= 500
}

// With adds a member.
func (p *Problem) With(name string, value any) *Problem {
	if p.Extra == nil {
		p.Extra = map[string]any{}
	}
	p.Extra[name] = value
	return p
}

func (p *Problem) Error() string { return fmt.Sprintf("%s: %s (%d)", p.Code, p.Detail, p.Status) }

// MarshalJSON gives the members of RFC 9457 and ours.
func (p *Problem) MarshalJSON() ([]byte, error) {
	if len(p.Extra) == 0 && isPlain(p.Code) && isPlain(p.Detail) {
		return p.plain(), nil
	}
	m := map[string]any{}
	for name, value := range p.Extra {
		if !isOurs(name) {
			m[name] = value
		}
	}
	m["type"], m["title"], m["status"] = "about:blank", http.StatusText(p.Status), p.Status
	m["code"], m["detail"], m["retry"] = p.Code, p.Detail, p.Retry
	return json.Marshal(m)
}

// plain is what the map would become, for a tenth of the work: whoever floods us is answered with these.
func (p *Problem) plain() []byte {
	b := make([]byte, 0, 256)
	b = append(append(b, `{"code":"`...), p.Code...)
	b = append(append(b, `","detail":"`...), p.Detail...)
	b = strconv.AppendBool(append(b, `","retry":`...), p.Retry)
	b = strconv.AppendInt(append(b, `,"status":`...), int64(p.Status), 10)
	b = append(append(b, `,"title":"`...), http.StatusText(p.Status)...)
	return append(b, `","type":"about:blank"}`...)
}

// isPlain says that nothing in a text is written in another way in JSON.
func isPlain(s string) bool {
	for _, c := range []byte(s) {
		if c < ' ' || c > '~' || c == '"' || c == '\\' || c == '<' || c == '>' || c == '&' {
			return false
		}
	}
	return true
}

// Write answers with the problem.
func Write(w http.ResponseWriter, p *Problem) {
	body, err := p.MarshalJSON()
	if err != nil {
		http.Error(w, "internal error", http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", ContentType)
	w.Header().Set("Cache-Control", "no-store")
	if p.RetryAfter > 0 {
		w.Header().Set("Retry-After", strconv.Itoa(p.RetryAfter))
	}
	w.WriteHeader(p.Status)
	_, _ = w.Write(body) // the other side has gone away
}

// Read takes the problem out of a failed response. One that is not a problem document gets the code "http_<status>". Code and
// detail go into logs and onto screens, so they are kept short and printable.
func Read(status int, header http.Header, body io.Reader) *Problem {
	p := New(status, "http_"+strconv.Itoa(status), "the other side answered %s", http.StatusText(status))
	p.RetryAfter = retryAfter(header)
	data, err := io.ReadAll(io.LimitReader(body, maxProblem+1))
	var m map[string]any
	if err != nil || len(data) > maxProblem || strictjson.Unmarshal(data, &m) != nil {
		return p
	}
	if code, ok := m["code"].(string); ok && isCode(code) {
		p.Code = code
	}
	if detail, ok := m["detail"].(string); ok {
		p.Detail = printable(detail)
	}
	if retry, ok := m["retry"].(bool); ok {
		p.Retry = retry
	}
	maps.DeleteFunc(m, func(name string, _ any) bool { return isOurs(name) })
	p.Extra = m
	return p
}

// isOurs names the members that are fields of a Problem, in any case: beside another spelling the document could not be read again.
func isOurs(name string) bool {
	return slices.ContainsFunc([]string{"type", "title", "status", "code", "detail", "retry"}, func(ours string) bool { return strings.EqualFold(ours, name) })
}

// retryAfter reads seconds or, by the other side's own clock, a date (RFC 9110, section 10.2.3).
func retryAfter(header http.Header) int {
	value := header.Get("Retry-After")
	seconds, err := strconv.Atoi(value)
	if err != nil {
		at, err := http.ParseTime(value)
		date, noDate := http.ParseTime(header.Get("Date"))
		if err != nil || noDate != nil {
			return 0
		}
		seconds = int(at.Sub(date) / time.Second)
	}
	return min(max(seconds, 0), maxRetryAfter)
}

func isCode(s string) bool {
	for _, c := range s {
		if (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '_' {
			return false
		}
	}
	return s != "" && len(s) <= 64
}

func printable(s string) string {
	kept := make([]rune, 0, maxDetail)
	for _, r := range s {
		if len(kept) < maxDetail && unicode.IsPrint(r) {
			kept = append(kept, r)
		}
	}
	return string(kept)
}
