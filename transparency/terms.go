package transparency

import (
	"bytes"
	"fmt"
	"strings"
)

// How old a quorum's word may be (W14), in seconds.
const (
	maxAge   = 24 * 3600 // older than this it is refused
	maxAhead = 10 * 60   // of the reader's clock
)

// Terms are what a reader demands of a checkpoint beyond the log's own signature. The zero value demands nothing.
type Terms struct {
	Policy *Policy // nil: no witness is known, nothing is demanded
	Own    string  // origin or host of the reader's own instance, whose witnesses do not count; "" if none
	Now    int64   // the reader's clock, in seconds
}

// evaluate is A1 and the weighing of the cosignatures.
func (t Terms) evaluate(signed []byte, l Log) (Verdict, error) {
	key, err := l.verifier()
	if err != nil {
		return Verdict{}, err
	}
	p := t.Policy
	if p == nil {
		p = new(Policy)
	}
	except := []string{l.Origin}
	if t.Own != "" {
		except = append(except, t.Own)
	}
	return p.Evaluate(signed, key, except...)
}

// newest is the better of the verdict on a checkpoint and that on the note that l remembers of the same tree: what was vouched for
// once about a tree stays said of it, whoever shows the tree again. It returns the note that the verdict is about.
func (t Terms) newest(v Verdict, signed []byte, l Log) (Verdict, []byte) {
	if v.Checkpoint.Size != l.Size || len(l.Note) == 0 || !t.Policy.Asks() || bytes.Equal(signed, l.Note) {
		return v, signed
	}
	known, err := t.evaluate(l.Note, l)
	if err != nil || known.Checkpoint != v.Checkpoint || !known.Met || v.Met && v.AsOf >= known.AsOf {
		return v, signed
	}
	return known, l.Note
}

// check is W13 and W14.
func (t Terms) check(v Verdict) error {
	if !t.Policy.Asks() {
		return nil
	}
	if err := v.quorum(); err != nil {
		return err
	}
	switch {
	case v.AsOf < t.Now-maxAge:
		return Failed("W14", "the witnesses' word on the log's size is %d hours old", (t.Now-v.AsOf)/3600)
	case v.AsOf > t.Now+maxAhead:
		return Failed("W14", "the witnesses' time is %d minutes ahead of the clock here", (v.AsOf-t.Now)/60)
	}
	return nil
}

// quorum is W13.
func (v Verdict) quorum() error {
	if v.Met {
		return nil
	}
	var counted int
	var excepted []string
	for _, s := range v.Cosigned {
		if s.Counts {
			counted++
		} else {
			excepted = append(excepted, s.Witness)
		}
	}
	reason := fmt.Sprintf("the quorum is not met: %d cosigned", counted)
	if len(v.Missing) > 0 {
		reason += ", without " + strings.Join(v.Missing, ", ")
	}
	if len(excepted) > 0 {
		reason += ", not counting " + strings.Join(excepted, ", ")
	}
	return Failed("W13", "%s", reason)
}
