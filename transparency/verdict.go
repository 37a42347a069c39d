package transparency

import (
	"slices"
	"strings"

	"golang.org/x/mod/sumdb/note"
)

// Verdict is what a policy makes of one signed checkpoint.
type Verdict struct {
	Checkpoint Checkpoint
	Cosigned   []Cosignature // the policy's witnesses that signed, in the policy's order
	Missing    []string      // names of those that did not
	Met        bool          // whether the quorum is there
	// AsOf is the second as of which the quorum vouches that the log had no larger tree: enough witnesses for the quorum signed
	// then or later. Compare it to your own clock, both ways. 0: nobody vouches for any time.
	AsOf   int64
	Newest int64 // the newest time of any witness that counts, which one liar can set
}

// Cosignature is one verified cosignature.
type Cosignature struct {
	Witness string // its name in the policy
	Domain  string // of the key name, see Domain
	Time    int64  // seconds; 0 says nothing of time
	Counts  bool   // false for a domain that the caller excepted
	Auditor bool   // its key says that the entries were replayed, too
}

// Evaluate opens a checkpoint, which must be signed by log, or if that is nil by one of the policy's logs (A1), and weighs its
// cosignatures (W13). Witnesses of the excepted domains do not count: give the log's origin and that of your own instance's log.
// That the quorum is not met is in the verdict and no error.
func (p *Policy) Evaluate(signed []byte, log note.Verifier, except ...string) (Verdict, error) {
	logs := []note.Verifier{log}
	if log == nil {
		logs = nil
		for _, l := range p.Logs {
			logs = append(logs, l.Key)
		}
	}
	var cosigners []*CosignerKey
	for _, w := range p.Witnesses {
		cosigners = append(cosigners, w.Key)
	}
	c, n, err := OpenCosigned(signed, logs, cosigners)
	if err != nil {
		return Verdict{}, err
	}
	return p.weigh(c, n, except), nil
}

func (p *Policy) weigh(c Checkpoint, n *note.Note, except []string) Verdict {
	v := Verdict{Checkpoint: c}
	times := make([]int64, len(p.Witnesses))
	for i, w := range p.Witnesses {
		times[i] = absent
		t, ok := w.Key.Time(n)
		if !ok {
			v.Missing = append(v.Missing, w.Name)
			continue
		}
		s := Cosignature{Witness: w.Name, Domain: Domain(w.Key.Name()), Time: t, Counts: true, Auditor: isAuditor(w.Key.Name())}
		for _, d := range except {
			s.Counts = s.Counts && !related(s.Domain, Domain(d))
		}
		if s.Counts {
			times[i], v.Newest = t, max(v.Newest, t)
		}
		v.Cosigned = append(v.Cosigned, s)
	}
	asOf := p.quorum.asOf(times)
	v.Met, v.AsOf = asOf != absent, max(asOf, 0)
	return v
}

// isAuditor goes by the custom that spec/witness.md sets for key names: whoever puts a key into a policy sees what it promises.
func isAuditor(keyName string) bool { return strings.HasSuffix(keyName, "/auditor") }

const absent = -1 // in a list of times: no signature that counts

// asOf is the newest time that the rule vouches for, or absent if it is not met. A group's is the k-th newest of its members':
// k of them are at least so new.
func (r *rule) asOf(times []int64) int64 {
	switch {
	case r == nil:
		return 0
	case len(r.of) == 0:
		return times[r.witness]
	}
	var all []int64
	for _, m := range r.of {
		all = append(all, m.asOf(times))
	}
	slices.Sort(all)
	return all[len(all)-r.k]
}

// Domain of a key name or origin: what stands before the first slash, in lower case and without a port. Witnesses of one domain
// are one operator's, whatever a policy file calls them.
func Domain(name string) string {
	host, _, _ := strings.Cut(name, "/")
	// The colons in [::1] are none of a port's.
	if i := strings.LastIndexByte(host, ':'); i > strings.LastIndexByte(host, ']') {
		host = host[:i]
	}
	return strings.TrimSuffix(strings.ToLower(host), ".")
}

// related: one is the other or lies within it. Who has a domain has what is below it too.
func related(a, b string) bool {
	return a == b || strings.HasSuffix(a, "."+b) || strings.HasSuffix(b, "."+a)
}
