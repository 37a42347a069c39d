package sidecar_test

import (
	"crypto/sha512"
	"encoding/base64"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/waxwing-dm/waxwing/federation"
)

func (m *matrix) cavage() []row {
	label := func(name, value string) func(*exchange) { return func(x *exchange) { x.labels[name] = value } }
	cover := func(names ...string) func(*exchange) { return func(x *exchange) { x.covered = names } }
	return []row{
		{"no algorithm", label("algorithm", ""), taken},
		{"hs2019", label("algorithm", "hs2019"), taken},
		{"rsa-sha512", label("algorithm", "rsa-sha512"), malformed},
		{"ed25519", label("algorithm", "ed25519"), malformed},
		{"ecdsa-sha256", label("algorithm", "ecdsa-sha256"), malformed},
		{"hmac-sha256", label("algorithm", "hmac-sha256"), malformed},
		{"an Ed25519 key", func(x *exchange) {
			x.keyID, x.key = m.edID, m.edKey
			x.labels["algorithm"] = "hs2019"
		}, invalid},
		{"spaces after commas", edit("Signature", `",headers`, `", headers`), taken},
		{"spaces around equals", edit("Signature", `algorithm=`, `algorithm = `), taken},
		{"an unknown parameter", edit("Signature", `algorithm=`, `x="y",algorithm=`), taken},
		{"keyId twice", edit("Signature", `algorithm=`, `keyId="http://c.test/x",algorithm=`), malformed},
		{"headers twice", edit("Signature", `algorithm=`, `headers="date",algorithm=`), malformed},
		{"an escaped quote in keyId", edit("Signature", `#main-key"`, `\"#main-key"`), malformed},
		{"a quote in keyId", edit("Signature", `#main-key"`, `"#main-key"`), malformed},
		{"no keyId", label("keyId", ""), malformed},
		{"no headers", label("headers", ""), malformed},
		{"no signature", label("signature", ""), malformed},
		{"signature in base64url", label("signature", "-_-_"), malformed},
		{"a signature of zeros", label("signature", strings.Repeat("A", 342)+"=="), invalid},
		{"another order", cover("digest", "date", "(request-target)", "host"), taken},
		{"content type covered too", cover("(request-target)", "host", "date", "digest", "content-type"), taken},
		{"content type covered and changed", func(x *exchange) {
			x.covered = []string{"(request-target)", "host", "date", "digest", "content-type"}
			x.after = func(x *exchange) { x.set("Content-Type", federation.ContentType+"; charset=utf-8") }
		}, invalid},
		{"digest not covered", cover("(request-target)", "host", "date"), required},
		{"date not covered", cover("(request-target)", "host", "digest"), malformed},
		{"host not covered", cover("(request-target)", "date", "digest"), malformed},
		{"target not covered", cover("host", "date", "digest"), malformed},
		{"date alone", cover("date"), malformed},
		{"(created) for date", cover("(request-target)", "(created)", "host", "digest"), malformed},
		{"(created) and date", cover("(request-target)", "(created)", "host", "date", "digest"), malformed},
		{"(expires)", cover("(request-target)", "(expires)", "host", "date", "digest"), malformed},
		{"covered but absent", cover("(request-target)", "host", "date", "digest", "x-none"), malformed},
		{"covered twice", cover("(request-target)", "host", "date", "digest", "date"), malformed},
		{"names in capitals", label("headers", "(request-target) Host date digest"), malformed},
		{"order not as signed", label("headers", "(request-target) date host digest"), invalid},
		{"host in capitals, not as signed", after(func(x *exchange) { x.host = "A.TEST" }), invalid},
		{"host in capitals", func(x *exchange) { x.host = "A.TEST" }, taken},
		{"date moved", after(func(x *exchange) { x.set("Date", x.at.Add(time.Minute).UTC().Format(http.TimeFormat)) }), invalid},
		{"two dates", after(func(x *exchange) { x.add("Date", x.get("Date")) }), malformed},
		{"no date", after(func(x *exchange) { x.del("Date") }), malformed},
		{"date in words", after(func(x *exchange) { x.set("Date", "today") }), malformed},
		{"SHA-512 digest only", func(x *exchange) {
			x.noDigest = true
			sum := sha512.Sum512(x.body)
			x.add("Digest", "SHA-512="+base64.StdEncoding.EncodeToString(sum[:]))
		}, mismatched},
		{"two digests, the right one second", func(x *exchange) {
			x.noDigest = true
			sum := sha512.Sum512(x.body)
			x.add("Digest", "SHA-512="+base64.StdEncoding.EncodeToString(sum[:])+",SHA-256="+x.sum())
		}, taken},
		{"sha-256 in small letters", func(x *exchange) { x.noDigest = true; x.add("Digest", "sha-256="+x.sum()) }, taken},
	}
}

func (m *matrix) rfc9421() []row {
	cover := func(names ...string) func(*exchange) { return func(x *exchange) { x.covered = names } }
	param := func(more string) func(*exchange) {
		return func(x *exchange) { x.params = fmt.Sprintf(`;created=%d;keyid="%s"`, x.created, x.keyID) + more }
	}
	params := func(f func(x *exchange) string) func(*exchange) { return func(x *exchange) { x.params = f(x) } }
	keyid := func(x *exchange) string { return fmt.Sprintf(`;keyid="%s"`, x.keyID) }
	created := func(x *exchange) string { return fmt.Sprintf(`;created=%d`, x.created) }
	usual := `"@method" "@target-uri" "content-digest"`
	return []row{
		{"alg", param(`;alg="rsa-v1_5-sha256"`), taken},
		{"alg of another kind of key", param(`;alg="ed25519"`), invalid},
		{"alg rsa-pss-sha512", param(`;alg="rsa-pss-sha512"`), malformed},
		{"alg ecdsa-p256-sha256", param(`;alg="ecdsa-p256-sha256"`), malformed},
		{"alg hmac-sha256", param(`;alg="hmac-sha256"`), malformed},
		{"alg in capitals", param(`;alg="RSA-V1_5-SHA256"`), malformed},
		{"alg as a token", param(`;alg=ed25519`), malformed},
		{"Ed25519 of the actor", func(x *exchange) { x.keyID, x.key = m.edID, m.edKey }, taken},
		{"Ed25519 of the service actor", func(x *exchange) { x.keyID, x.key = m.edBy, m.edKey }, taken},
		{"GET by Ed25519 of the service actor", func(x *exchange) {
			x.method, x.target, x.body, x.headers = "GET", m.room, nil, nil
			x.keyID, x.key = m.edBy, m.edKey
		}, "200"},
		{"Ed25519 of the service actor for another instance's user", func(x *exchange) {
			x.keyID, x.key = m.edBy, m.edKey
			x.asActor("http://d.test/users/mallory")
		}, notTheirs},
		{"Ed25519 of a user for another", func(x *exchange) {
			x.keyID, x.key = m.edID, m.edKey
			x.asActor(m.p.instance + "/users/other")
		}, notTheirs},
		{"Ed25519 with alg", func(x *exchange) { x.keyID, x.key = m.edID, m.edKey; param(`;alg="ed25519"`)(x) }, taken},
		{"Ed25519 called RSA", func(x *exchange) { x.keyID, x.key = m.edID, m.edKey; param(`;alg="rsa-v1_5-sha256"`)(x) }, invalid},
		{"RSA under the Ed25519 key's name", func(x *exchange) { x.keyID = m.edID }, invalid},
		{"Ed25519 of somebody else", func(x *exchange) { x.keyID, x.key = m.edID, newKey(x.p.w.t) }, invalid},
		{"a key that its document calls another's", func(x *exchange) {
			x.keyID, x.key = m.borrowed, m.edKey
			x.asActor(m.p.instance + "/users/other")
		}, notTheirs},
		{"nonce and tag", param(`;nonce="n";tag="t"`), taken},
		{"expires later", func(x *exchange) { param(fmt.Sprintf(`;expires=%d`, x.created+60))(x) }, taken},
		{"expired", func(x *exchange) { param(fmt.Sprintf(`;expires=%d`, x.created-1))(x) }, expired},
		{"expires before it was made", func(x *exchange) { x.created += 100; param(fmt.Sprintf(`;expires=%d`, x.created-101))(x) }, expired},
		{"expires as a string", param(`;expires="1"`), malformed},
		{"expires never", param(`;expires=0`), malformed},
		{"unknown parameter", param(`;x=1`), malformed},
		{"no created", params(keyid), malformed},
		{"no keyid", params(created), malformed},
		{"empty keyid", params(func(x *exchange) string { return created(x) + `;keyid=""` }), malformed},
		{"keyid as a token", params(func(x *exchange) string { return created(x) + `;keyid=main` }), malformed},
		{"created as a string", params(func(x *exchange) string { return fmt.Sprintf(`;created="%d"`, x.created) + keyid(x) }), malformed},
		{"created as a decimal", params(func(x *exchange) string { return fmt.Sprintf(`;created=%d.0`, x.created) + keyid(x) }), malformed},
		{"created below zero", params(func(x *exchange) string { return `;created=-1` + keyid(x) }), malformed},
		{"created far away", params(func(x *exchange) string { return `;created=999999999999999` + keyid(x) }), expired},
		{"created twice", params(func(x *exchange) string { return created(x) + created(x) + keyid(x) }), malformed},
		{"keyid twice", params(func(x *exchange) string { return created(x) + `;keyid="http://c.test/x"` + keyid(x) }), malformed},
		{"created moved", edit("Signature-Input", ";created=1", ";created=01"), malformed},
		{"created changed", after(func(x *exchange) { x.edit("Signature-Input", fmt.Sprint(x.created), fmt.Sprint(x.created+1)) }), invalid},
		{"a quote in keyid", edit("Signature-Input", `#main-key"`, `\"#main-key"`), notTheirs},
		{"spaces between the parameters", edit("Signature-Input", `;keyid`, `; keyid`), taken},
		{"spaces in the list", edit("Signature-Input", usual, `  "@method"  "@target-uri" "content-digest" `), taken},
		{"tabs in the list", edit("Signature-Input", usual, "\"@method\"\t\"@target-uri\" \"content-digest\""), malformed},
		{"Signature-Input twice", after(func(x *exchange) { x.add("Signature-Input", x.get("Signature-Input")) }), malformed},
		{"Signature-Input alone", after(func(x *exchange) { x.del("Signature") }), malformed},
		{"Signature alone", after(func(x *exchange) { x.del("Signature-Input") }), malformed},
		{"Signature-Input too long", after(func(x *exchange) {
			x.edit("Signature-Input", ";created", `;nonce="`+strings.Repeat("x", 9000)+`";created`)
		}), malformed},
		{"one label twice", after(func(x *exchange) {
			x.set("Signature-Input", `sig1=("@method");created=1, `+x.get("Signature-Input"))
		}), malformed},
		{"two labels", after(func(x *exchange) {
			x.set("Signature-Input", x.get("Signature-Input")+", "+strings.Replace(x.get("Signature-Input"), "sig1", "sig2", 1))
			x.set("Signature", x.get("Signature")+", "+strings.Replace(x.get("Signature"), "sig1", "sig2", 1))
		}), malformed},
		{"two signatures, one input", after(func(x *exchange) { x.set("Signature", x.get("Signature")+", sig2=:AAAA:") }), malformed},
		{"labels that differ", edit("Signature", "sig1", "sig2"), malformed},
		{"another label", after(func(x *exchange) { x.edit("Signature", "sig1", "x"); x.edit("Signature-Input", "sig1", "x") }), taken},
		{"signature as a string", after(func(x *exchange) { x.set("Signature", `sig1="AAAA"`) }), malformed},
		{"signature with a parameter", after(func(x *exchange) { x.set("Signature", x.get("Signature")+";x") }), malformed},
		{"empty signature", after(func(x *exchange) { x.set("Signature", "sig1=::") }), malformed},
		{"a signature of zeros", after(func(x *exchange) { x.set("Signature", "sig1=:"+strings.Repeat("A", 342)+"==:") }), invalid},
		{"signature in base64url", after(func(x *exchange) { x.set("Signature", "sig1=:-_-_:") }), malformed},
		{"input is an item", after(func(x *exchange) { x.set("Signature-Input", `sig1="@method"`) }), malformed},
		{"input is a list of lists", after(func(x *exchange) { x.set("Signature-Input", `sig1=(("@method"))`) }), malformed},
		{"a component as a token", edit("Signature-Input", `"content-digest"`, `content-digest`), malformed},
		{"req", edit("Signature-Input", `"@method"`, `"@method";req`), malformed},
		{"tr", edit("Signature-Input", `"content-digest"`, `"content-digest";tr`), malformed},
		{"bs", edit("Signature-Input", `"content-digest"`, `"content-digest";bs`), malformed},
		{"sf", edit("Signature-Input", `"content-digest"`, `"content-digest";sf`), malformed},
		{"key", edit("Signature-Input", `"content-digest"`, `"content-digest";key="sha-256"`), malformed},
		{"query-param", edit("Signature-Input", `"content-digest"`, `"content-digest" "@query-param";name="x"`), malformed},
		{"in parts", cover("@method", "@authority", "@path", "content-digest"), taken},
		{"in parts, with a query", func(x *exchange) {
			x.target += "?x=1"
			x.covered = []string{"@method", "@authority", "@path", "@query", "content-digest"}
		}, taken},
		{"in parts, without the query", func(x *exchange) {
			x.target += "?x=1"
			x.covered = []string{"@method", "@authority", "@path", "content-digest"}
		}, malformed},
		{"in parts, without the host", cover("@method", "@path", "content-digest"), malformed},
		{"the request target alone", cover("@method", "@authority", "@request-target", "content-digest"), malformed},
		{"as Fedify does", func(x *exchange) {
			x.add("Date", x.at.UTC().Format(http.TimeFormat))
			x.covered = []string{"@method", "@target-uri", "@authority", "host", "date", "content-digest"}
		}, taken},
		{"everything there is", cover("@method", "@target-uri", "@authority", "@scheme", "@request-target", "@path", "@query", "content-digest", "content-type", "content-length"), taken},
		{"another order", cover("content-digest", "@target-uri", "@method"), taken},
		{"order not as signed", edit("Signature-Input", usual, `"@target-uri" "@method" "content-digest"`), invalid},
		{"method not covered", cover("@target-uri", "content-digest"), malformed},
		{"target not covered", cover("@method", "content-digest"), malformed},
		{"digest not covered", cover("@method", "@target-uri"), required},
		{"nothing covered", cover([]string{}...), malformed},
		{"covered twice", cover("@method", "@target-uri", "content-digest", "@method"), malformed},
		{"covered but absent", cover("@method", "@target-uri", "content-digest", "x-none"), malformed},
		{"an unknown derived component", cover("@method", "@target-uri", "content-digest", "@status"), malformed},
		{"names in capitals", cover("@method", "@target-uri", "Content-Digest"), required},
		{"a header in capitals too", cover("@method", "@target-uri", "content-digest", "Content-Type"), malformed},
		{"transfer encoding covered", func(x *exchange) {
			x.chunked = true
			x.covered = []string{"@method", "@target-uri", "content-digest", "transfer-encoding"}
		}, malformed},
		{"host in capitals", after(func(x *exchange) { x.host = "A.TEST" }), taken}, // what is signed is our own name
		{"https for http", func(x *exchange) { x.origin = "https://a.test" }, invalid},
		{"https for http, forwarded", func(x *exchange) { x.origin = "https://a.test"; x.add("X-Forwarded-Proto", "https") }, invalid},
		{"a header of two lines", func(x *exchange) {
			x.add("X-Two", "one")
			x.add("X-Two", "two")
			x.covered = []string{"@method", "@target-uri", "content-digest", "x-two"}
		}, taken},
		{"SHA-512", func(x *exchange) {
			x.noDigest = true
			sum := sha512.Sum512(x.body)
			x.add("Content-Digest", "sha-512=:"+base64.StdEncoding.EncodeToString(sum[:])+":")
		}, taken},
		{"one of two digests is wrong", func(x *exchange) {
			x.noDigest = true
			x.add("Content-Digest", "sha-512=:AAAA:, sha-256=:"+x.sum()+":")
		}, mismatched},
		{"digest of a hash that is broken", func(x *exchange) { x.noDigest = true; x.add("Content-Digest", "md5=:AAAA:") }, mismatched},
		{"digest twice in one header", func(x *exchange) {
			x.noDigest = true
			x.add("Content-Digest", "sha-256=:AAAA:, sha-256=:"+x.sum()+":")
		}, mismatched},
		{"digest in the old form", func(x *exchange) { x.noDigest = true; x.add("Content-Digest", "SHA-256="+x.sum()) }, mismatched},
	}
}
