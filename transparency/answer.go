package transparency

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"

	"golang.org/x/mod/sumdb/tlog"
)

// MaxAnswer is the most bytes a lookup answer may have.
const MaxAnswer = 64 << 10

const maxProof = 64 // hashes; a log of 2^63 entries needs no more

// Answer is a directory's answer to a lookup. Nothing in it counts before it was checked.
type Answer struct {
	Checkpoint  []byte // signed note
	Index       int64
	Entry       []byte
	Inclusion   []tlog.Hash
	Consistency []tlog.Hash
	Opening     [32]byte
	Devices     []byte // encoded device list
}

type answerJSON struct {
	Version     int      `json:"version"`
	Checkpoint  string   `json:"checkpoint"`
	Index       int64    `json:"index"`
	Entry       string   `json:"entry"`
	Inclusion   []string `json:"inclusion"`
	Consistency []string `json:"consistency"`
	Opening     string   `json:"opening"`
	Devices     string   `json:"devices"`
}

var b64 = base64.StdEncoding.Strict()

// ParseAnswer reads an answer's JSON. Only the one spelling that MarshalJSON gives is accepted, but for white space.
func ParseAnswer(data []byte) (Answer, error) {
	if len(data) > MaxAnswer {
		return Answer{}, fmt.Errorf("transparency: reading a lookup answer of %d bytes: at most %d", len(data), MaxAnswer)
	}
	var j answerJSON
	dec := json.NewDecoder(bytes.NewReader(data))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&j); err != nil {
		return Answer{}, fmt.Errorf("transparency: reading a lookup answer: %w", err)
	}
	a, err := j.answer()
	if err != nil {
		return Answer{}, fmt.Errorf("transparency: reading a lookup answer: %w", err)
	}
	canonical, err := json.Marshal(a)
	if err != nil {
		return Answer{}, err
	}
	var compact bytes.Buffer
	if err := json.Compact(&compact, data); err != nil {
		return Answer{}, fmt.Errorf("transparency: reading a lookup answer: %w", err)
	}
	if !bytes.Equal(canonical, compact.Bytes()) {
		return Answer{}, fmt.Errorf("transparency: reading a lookup answer: not in its canonical spelling")
	}
	return a, nil
}

func (j *answerJSON) answer() (a Answer, err error) {
	if j.Version != 1 {
		return a, fmt.Errorf("version %d is not known here", j.Version)
	}
	if j.Index < 0 || len(j.Inclusion) > maxProof || len(j.Consistency) > maxProof {
		return a, fmt.Errorf("index or proof out of bounds")
	}
	a.Checkpoint, a.Index = []byte(j.Checkpoint), j.Index
	opening, err := b64.DecodeString(j.Opening)
	if err != nil || len(opening) != len(a.Opening) {
		return a, fmt.Errorf("opening is not %d bytes", len(a.Opening))
	}
	copy(a.Opening[:], opening)
	if a.Entry, err = b64.DecodeString(j.Entry); err != nil {
		return a, fmt.Errorf("entry: %w", err)
	}
	if a.Devices, err = b64.DecodeString(j.Devices); err != nil {
		return a, fmt.Errorf("devices: %w", err)
	}
	if a.Inclusion, err = hashes(j.Inclusion); err != nil {
		return a, fmt.Errorf("inclusion proof: %w", err)
	}
	if a.Consistency, err = hashes(j.Consistency); err != nil {
		return a, fmt.Errorf("consistency proof: %w", err)
	}
	return a, nil
}

func hashes(in []string) ([]tlog.Hash, error) {
	out := make([]tlog.Hash, 0, len(in))
	for _, s := range in {
		h, err := b64.DecodeString(s)
		if err != nil || len(h) != tlog.HashSize {
			return nil, fmt.Errorf("not a hash")
		}
		out = append(out, tlog.Hash(h))
	}
	return out, nil
}

// MarshalJSON gives the answer as spec/log-entry.md has it.
func (a Answer) MarshalJSON() ([]byte, error) {
	return json.Marshal(answerJSON{
		Version: 1, Checkpoint: string(a.Checkpoint), Index: a.Index, Entry: b64.EncodeToString(a.Entry),
		Inclusion: texts(a.Inclusion), Consistency: texts(a.Consistency),
		Opening: b64.EncodeToString(a.Opening[:]), Devices: b64.EncodeToString(a.Devices),
	})
}

func texts(in []tlog.Hash) []string {
	out := make([]string, 0, len(in))
	for _, h := range in {
		out = append(out, b64.EncodeToString(h[:]))
	}
	return out
}
