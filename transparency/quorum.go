package transparency

// Suffice says whether signatures of the witnesses that has picks out would meet the quorum. Witnesses of the excepted domains do not
// count, as in Evaluate. Whoever has to know of every checkpoint that a quorum ever signed has asked enough witnesses when the others
// would not suffice: then each quorum has one among those that were asked.
func (p *Policy) Suffice(has func(PolicyWitness) bool, except ...string) bool {
	times := make([]int64, len(p.Witnesses))
	for i, w := range p.Witnesses {
		if times[i] = absent; has(w) && counts(Domain(w.Key.Name()), except) {
			times[i] = 0
		}
	}
	return p.quorum.asOf(times) != absent
}

// counts says that a domain is none of the excepted ones, holds none and lies in none.
func counts(domain string, except []string) bool {
	for _, d := range except {
		if related(domain, Domain(d)) {
			return false
		}
	}
	return true
}

// Counting are the witnesses that are not of an excepted domain.
func (p *Policy) Counting(except ...string) (all []PolicyWitness) {
	for _, w := range p.Witnesses {
		if counts(Domain(w.Key.Name()), except) {
			all = append(all, w)
		}
	}
	return all
}
