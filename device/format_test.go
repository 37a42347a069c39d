package device

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/mod/sumdb/tlog"
	"pgregory.net/rapid"

	"github.com/waxwing-dm/waxwing/internal/receipt"
	"github.com/waxwing-dm/waxwing/transparency"
)

func sampleRoom() room {
	return room{
		version: 2, conversation: "https://a.example/waxwing/conversations/00", hub: "https://a.example",
		fallbacks: []receipt.NextHub{{Hub: "https://b.example", Key: [32]byte{3}}, {Hub: "https://c.example"}}, hubKey: [32]byte{1, 2}, created: 3,
		grants: []grant{{"https://a.example/users/alice", roleAdmin}, {"https://b.example/users/bob", roleAdmin}},
	}
}

func TestRoomFormat(t *testing.T) {
	good := sampleRoom()
	b := good.marshal()
	got, err := parseRoom(b)
	require.NoError(t, err)
	require.Equal(t, good, got)
	for n := range b {
		_, err := parseRoom(b[:n])
		require.Error(t, err, "cut to %d bytes", n)
	}
	_, err = parseRoom(append(bytes.Clone(b), 0))
	require.Error(t, err, "trailing byte")
	for name, change := range map[string]func(*room){
		"no conversation": func(r *room) { r.conversation = "" },
		"long URL":        func(r *room) { r.conversation = strings.Repeat("x", maxURL+1) },
		"a hub twice":     func(r *room) { r.fallbacks[1] = r.fallbacks[0] },
		"its own hub":     func(r *room) { r.fallbacks[0].Hub = r.hub },
		"no origin":       func(r *room) { r.hub += "/" },
		"four fallbacks": func(r *room) {
			r.fallbacks = append(r.fallbacks, receipt.NextHub{Hub: "https://d.example"}, receipt.NextHub{Hub: "https://e.example"})
		},
		"no grants":  func(r *room) { r.grants = nil },
		"descending": func(r *room) { r.grants[0], r.grants[1] = r.grants[1], r.grants[0] },
		"twice":      func(r *room) { r.grants[1] = r.grants[0] },
		"no actor":   func(r *room) { r.grants[0].actor = "" },
		"role 0":     func(r *room) { r.grants[0].role = 0 },
		"role 3":     func(r *room) { r.grants[1].role = 3 },
	} {
		r := sampleRoom()
		change(&r)
		_, err := parseRoom(r.marshal())
		require.Error(t, err, name)
	}
	b[0] = 3
	_, err = parseRoom(b)
	require.Error(t, err, "version 3")
}

func TestFenceFormat(t *testing.T) {
	f := fence{place: place{Epoch: 5, Term: 1, Seq: 5, Head: [8]byte{1}, Authenticator: [8]byte{2}}, franking: [32]byte{3}}
	b := f.marshal()
	require.Len(t, b, fenceSize)
	f.seen = []transparency.Sighting{{Origin: [4]byte{1}, Size: 7, Root: tlog.Hash{8}}, {Origin: [4]byte{2}, Size: 1 << 62}}
	b = f.marshal()
	require.Len(t, b, fenceSize+2*44)
	got, err := parseFence(b, 5)
	require.NoError(t, err)
	require.Equal(t, f, got)
	require.NoError(t, got.check([]place{{Epoch: 6}, f.place}))
	require.Error(t, got.check([]place{{Epoch: 6}}))
	for n := range b {
		_, err := parseFence(b[:n], 5)
		require.Error(t, err)
	}
	_, err = parseFence(append(b, 0), 5)
	require.Error(t, err)
	b[len(b)-33]++
	_, err = parseFence(b, 5)
	require.Error(t, err, "a tree of more than 2^62")
}

func TestBuckets(t *testing.T) {
	for n, want := range map[int]int{
		0: 256, 256: 256, 257: 1 << 10, 1 << 10: 1 << 10, 1<<10 + 1: 4 << 10, 4<<10 + 1: 16 << 10, 16<<10 + 1: 64 << 10,
		64 << 10: 64 << 10, 64<<10 + 1: 128 << 10, 200 << 10: 256 << 10,
	} {
		require.Equal(t, want, bucketOf(n), "%d bytes", n)
	}
}

func TestContentRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		c := content{
			id: "uri:uuid:1", actor: "https://a.example/users/alice", kind: KindText, text: rapid.String().Draw(t, "text"),
			published: time.Unix(rapid.Int64Range(1, 4e9).Draw(t, "at"), 0).UTC(), salt: rapid.SliceOfN(rapid.Byte(), 32, 32).Draw(t, "salt"),
		}
		for range rapid.IntRange(0, 3).Draw(t, "files") {
			c.attachments = append(c.attachments, attachment{
				Type: "Document", MediaType: "image/png", Name: rapid.StringN(0, 50, maxName).Draw(t, "name"), Size: 5, Digest: make([]byte, 32),
				Key: make([]byte, 32), URL: "https://a.example/waxwing/blobs/" + strings.Repeat("0a", 32),
			})
		}
		b, err := c.marshal("uri:uuid:2")
		require.NoError(t, err)
		got, err := parseContent(b)
		require.NoError(t, err)
		require.Equal(t, c, got)
	})
}

func TestTextOf(t *testing.T) {
	for markup, want := range map[string]string{
		"":                               "",
		"<p>a</p><p>b</p>":               "a\nb",
		"a<br>b<br/>c<BR />d":            "a\nb\nc\nd",
		"&lt;script&gt;":                 "<script>",
		"&amp;lt;":                       "&lt;",
		"<script>alert(1)</script>":      "alert(1)",
		"<a href=\"javascript:x\">y</a>": "y",
		"x<img src=x onerror=alert(1)>":  "x",
		"a<b":                            "a",
		"a > b":                          "a > b",
		"<<p>>":                          ">",
	} {
		require.Equal(t, want, textOf(markup), "%q", markup)
	}
	rapid.Check(t, func(t *rapid.T) {
		// \r and NUL have no plain spelling in HTML; what we send carries the source beside it.
		text := rapid.StringMatching(`[a-z<>&"' äß]{0,40}(\n[a-z<>&"']{1,10}){0,3}`).Draw(t, "text")
		require.Equal(t, text, textOf(htmlOf(text)))
	})
}

func TestHTMLReachesTheReaderAsText(t *testing.T) {
	b := []byte(`{"type":"Create","id":"x","actor":"a","frankingSalt":"` + strings.Repeat("A", 43) + `=","object":{"type":"Note","id":"n",` +
		`"attributedTo":"a","content":"<p>x &amp; <b>y</b></p>","source":{"mediaType":"text/markdown","content":"**no**"}}}`)
	c, err := parseContent(b)
	require.NoError(t, err)
	require.Equal(t, "x & y", c.text)
	single := bytes.Replace(b, []byte(`"id":"n",`), []byte(`"id":"n","attachment":{"type":"Image","url":"https://x.example/"},`), 1)
	c, err = parseContent(single)
	require.NoError(t, err)
	require.Empty(t, c.attachments, "a plain link is not a file of ours")
}
