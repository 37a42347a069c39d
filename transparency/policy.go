package transparency

import (
	"bytes"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"golang.org/x/mod/sumdb/note"
)

// Limits of a policy file. C2SP tlog-policy wants at least 32 of each.
const (
	MaxPolicy       = 512 << 10
	maxPolicyThings = 64 // logs, witnesses, groups
	maxPolicyName   = 255
	maxPolicyURL    = 2048
)

// Policy says whose word makes a checkpoint good enough (C2SP tlog-policy). It does not change after it was read.
type Policy struct {
	Logs      []PolicyLog     // may be none, where the log is known otherwise
	Witnesses []PolicyWitness // in the file's order
	quorum    *rule           // nil: none is asked for
}

// Asks tells whether the policy demands any witness at all. That of no policy demands none.
func (p *Policy) Asks() bool { return p != nil && p.quorum != nil }

// PolicyLog is a log line.
type PolicyLog struct {
	Key note.Verifier // its name is the log's origin
	URL string
}

// PolicyWitness is a witness line.
type PolicyWitness struct {
	Name string // in this file only
	Key  *CosignerKey
	URL  string // the submission prefix of C2SP tlog-witness, or nothing
}

// A rule is one witness, or at least k of other rules.
type rule struct {
	witness int
	k       int
	of      []*rule // empty for a witness
}

// ParsePolicy reads a policy file. Every error names the line.
func ParsePolicy(file []byte) (*Policy, error) {
	if len(file) > MaxPolicy {
		return nil, fmt.Errorf("transparency: reading a policy of %d bytes: at most %d", len(file), MaxPolicy)
	}
	r := policyReader{rules: map[string]*rule{}, member: map[string]bool{}, keys: map[string]bool{}, ids: map[string]bool{}}
	n := 0
	for len(file) > 0 {
		n++
		line, rest, whole := bytes.Cut(file, []byte("\n"))
		file = rest
		err := errors.New("the line does not end in a newline")
		if whole {
			err = r.line(string(line))
		}
		if err != nil {
			return nil, fmt.Errorf("transparency: reading a policy: line %d: %w", n, err)
		}
	}
	if !r.quorum {
		return nil, fmt.Errorf("transparency: reading a policy: line %d: the file ends without a quorum", n)
	}
	return &r.policy, nil
}

type policyReader struct {
	policy Policy
	rules  map[string]*rule // by name, of the lines so far
	member map[string]bool  // names that are in a group already
	keys   map[string]bool  // public keys, since one key under two names would count twice
	ids    map[string]bool  // key name and ID, by which signatures find their key
	groups int
	quorum bool
}

func (r *policyReader) line(line string) error {
	for i := range len(line) {
		if c := line[i]; c != '\t' && (c < 0x20 || c == 0x7f) {
			return fmt.Errorf("byte %#02x at %d is not allowed", c, i+1)
		}
	}
	// Not strings.Fields: to the policy format a Unicode space is a letter like any other.
	fields := strings.FieldsFunc(line, func(c rune) bool { return c == ' ' || c == '\t' })
	if len(fields) == 0 || fields[0][0] == '#' {
		return nil
	}
	switch fields[0] {
	case "log":
		return r.log(fields[1:])
	case "witness":
		return r.witness(fields[1:])
	case "group":
		return r.group(fields[1:])
	case "quorum":
		return r.setQuorum(fields[1:])
	}
	return fmt.Errorf("%.40q begins no line of a policy", fields[0])
}

func (r *policyReader) log(args []string) error {
	if len(args) < 1 || len(args) > 2 {
		return errors.New("a log line is: log <key> [<url>]")
	}
	if len(r.policy.Logs) == maxPolicyThings {
		return fmt.Errorf("more than %d logs", maxPolicyThings)
	}
	key, public, err := logKey(args[0])
	if err != nil {
		return err
	}
	if err := r.newKey(key, public); err != nil {
		return err
	}
	url, err := policyURL(args[1:])
	if err != nil {
		return err
	}
	r.policy.Logs = append(r.policy.Logs, PolicyLog{key, url})
	return nil
}

// logKey reads the vkey of a log: plain Ed25519 as tlog-tiles wants it, or ML-DSA-44.
func logKey(vkey string) (key note.Verifier, public []byte, err error) {
	name, typ, public, err := parseKey(vkey)
	if err != nil {
		return nil, nil, err
	}
	switch typ {
	case typeEd25519:
		key, err = note.NewVerifier(vkey)
	case typeMLDSA44Cosig:
		key, err = newCosignerKey(name, typ, public)
	default:
		err = fmt.Errorf("signature type %#02x is not a log's", typ)
	}
	if err != nil {
		return nil, nil, fmt.Errorf("the key of the log %q: %w", name, err)
	}
	return key, public, nil
}

func (r *policyReader) witness(args []string) error {
	if len(args) < 2 || len(args) > 3 {
		return errors.New("a witness line is: witness <name> <key> [<url>]")
	}
	if len(r.policy.Witnesses) == maxPolicyThings {
		return fmt.Errorf("more than %d witnesses", maxPolicyThings)
	}
	key, err := ParseCosignerKey(args[1])
	if err != nil {
		return err
	}
	if err := r.newKey(key, key.public); err != nil {
		return err
	}
	url, err := policyURL(args[2:])
	if err != nil {
		return err
	}
	if err := r.define(args[0], &rule{witness: len(r.policy.Witnesses)}); err != nil {
		return err
	}
	r.policy.Witnesses = append(r.policy.Witnesses, PolicyWitness{args[0], key, url})
	return nil
}

func policyURL(args []string) (string, error) {
	if len(args) == 0 {
		return "", nil
	}
	if len(args[0]) > maxPolicyURL {
		return "", fmt.Errorf("a URL of %d bytes", len(args[0]))
	}
	return args[0], nil
}

// newKey refuses a public key that is in the file already. That a log cannot be its own witness either is our rule.
func (r *policyReader) newKey(key note.Verifier, public []byte) error {
	id := fmt.Sprintf("%s+%08x", key.Name(), key.KeyHash())
	if r.keys[string(public)] || r.ids[id] {
		return fmt.Errorf("the key %s is in the file already", id)
	}
	r.keys[string(public)], r.ids[id] = true, true
	return nil
}

func (r *policyReader) define(name string, is *rule) error {
	if name == "none" || len(name) > maxPolicyName {
		return fmt.Errorf("%.40q cannot be a name", name)
	}
	if r.rules[name] != nil {
		return fmt.Errorf("the name %q is in use already", name)
	}
	r.rules[name] = is
	return nil
}

func (r *policyReader) group(args []string) error {
	if len(args) < 3 {
		return errors.New("a group line is: group <name> all|any|<number> <member>…")
	}
	if r.groups++; r.groups > maxPolicyThings {
		return fmt.Errorf("more than %d groups", maxPolicyThings)
	}
	is := &rule{}
	for _, name := range args[2:] {
		m := r.rules[name]
		if m == nil {
			return fmt.Errorf("no witness or group %.40q is defined before this line", name)
		}
		if r.member[name] {
			return fmt.Errorf("%q is a member already, here or of another group", name)
		}
		r.member[name] = true
		is.of = append(is.of, m)
	}
	var err error
	if is.k, err = threshold(args[1], len(is.of)); err != nil {
		return err
	}
	return r.define(args[0], is)
}

func threshold(s string, n int) (int, error) {
	switch s {
	case "any":
		return 1, nil
	case "all":
		return n, nil
	}
	k, err := strconv.Atoi(s)
	if err != nil || strconv.Itoa(k) != s || k < 1 || k > n {
		return 0, fmt.Errorf("%.20q is not all, any or a number from 1 to %d", s, n)
	}
	return k, nil
}

func (r *policyReader) setQuorum(args []string) error {
	if len(args) != 1 {
		return errors.New("a quorum line is: quorum <name>")
	}
	if r.quorum {
		return errors.New("there is a quorum already")
	}
	r.quorum = true
	if args[0] == "none" {
		return nil
	}
	if r.policy.quorum = r.rules[args[0]]; r.policy.quorum == nil {
		return fmt.Errorf("no witness or group %.40q is defined before this line", args[0])
	}
	return nil
}
