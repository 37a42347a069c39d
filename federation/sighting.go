package federation

import (
	"encoding/base64"
	"net/http"
	"strings"

	"github.com/waxwing-dm/waxwing/transparency"
)

// headerSightings is the header in which sidecars tell each other, with whatever they ask, what they have seen of their logs
// (spec/gossip.md): sightings in base64, separated by commas. It is not signed, and proves nothing.
const headerSightings = "Waxwing-Sightings"

const maxSightings = 4

// SetSightings puts sightings into a request.
func SetSightings(h http.Header, seen []transparency.Sighting) {
	var all []string
	for _, s := range seen {
		all = append(all, base64.StdEncoding.EncodeToString(s.Marshal()))
	}
	if len(all) > 0 {
		h.Set(headerSightings, strings.Join(all, ", "))
	}
}

// Sightings reads what a request brings, at most four; what is malformed is left out.
func Sightings(h http.Header) (seen []transparency.Sighting) {
	for _, field := range strings.SplitN(h.Get(headerSightings), ",", maxSightings+1) {
		b, err := base64.StdEncoding.DecodeString(strings.TrimSpace(field))
		if err != nil || len(seen) == maxSightings {
			continue
		}
		if s, err := transparency.ParseSighting(b); err == nil {
			seen = append(seen, s)
		}
	}
	return seen
}
