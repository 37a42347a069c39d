package safehttp

import "net/netip"

// reserved are the parts of the global unicast space that lead somewhere else than to the public internet, or that carry an
// IPv4 address inside (IANA special-purpose registries), and the one address outside of them that answers inside of a cloud only:
// 168.63.129.16, which hands Azure's machines their configuration.
var reserved = prefixes(
	"0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "168.63.129.16/32", "169.254.0.0/16", "172.16.0.0/12", "192.0.0.0/24", "192.0.2.0/24",
	"192.31.196.0/24", "192.52.193.0/24", "192.88.99.0/24", "192.168.0.0/16", "192.175.48.0/24", "198.18.0.0/15", "198.51.100.0/24",
	"203.0.113.0/24", "224.0.0.0/4", "240.0.0.0/4",
	"2001::/23", "2001:db8::/32", "2002::/16", "2620:4f:8000::/48", "3fff::/20",
)

// routable is the only IPv6 space that is given out as global unicast; everything else (::/8, 64:ff9b::/96, fc00::/7, fe80::/10,
// ff00::/8, …) is refused without a list.
var routable = netip.MustParsePrefix("2000::/3")

func prefixes(list ...string) (out []netip.Prefix) {
	for _, p := range list {
		out = append(out, netip.MustParsePrefix(p))
	}
	return out
}

// Public says whether an address is one on the public internet. IPv4 inside IPv6 is refused in every form: nobody who means
// well needs it.
func Public(a netip.Addr) bool {
	if !a.IsValid() || a.Zone() != "" || a.Is4In6() || a.Is6() && !routable.Contains(a) {
		return false
	}
	for _, p := range reserved {
		if p.Contains(a) {
			return false
		}
	}
	return a.IsGlobalUnicast()
}
