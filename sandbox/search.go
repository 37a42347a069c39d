package sandbox

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"strings"
)

// A needle is a plaintext in one of the spellings in which a careless server could have written it down.
type needle struct {
	what     string // which plaintext, for the report
	spelling string
	bytes    []byte
}

// needles gives the spellings of a secret: as it is, as JSON and a URL would escape it, in hex, and in base64 at each of the
// three positions it can have inside something longer.
func needles(what string, secret []byte) []needle {
	ns := []needle{{what, "plain", secret}, {what, "hex", []byte(hex.EncodeToString(secret))}}
	if quoted, err := json.Marshal(string(secret)); err == nil {
		ns = append(ns, needle{what, "JSON", quoted[1 : len(quoted)-1]})
	}
	ns = append(ns, needle{what, "URL", []byte(url.QueryEscape(string(secret)))})
	for shift := range 3 {
		padded := append(make([]byte, shift), secret...)
		for name, enc := range map[string]*base64.Encoding{"base64": base64.StdEncoding, "base64url": base64.URLEncoding} {
			text := enc.EncodeToString(padded)
			// What depends on the neighbours goes: the first characters for a shift, the last ones always.
			start := (shift*8 + 5) / 6
			ns = append(ns, needle{what, name, []byte(text[start : len(padded)*8/6])})
		}
	}
	return ns
}

// fileNeedles looks for pieces of a file too large to look for whole.
func fileNeedles(what string, data []byte) []needle {
	var ns []needle
	const piece = 24
	for at := 0; at+piece <= len(data); at += max(1, len(data)/8) {
		ns = append(ns, needles(what, data[at:at+piece])...)
	}
	return ns
}

// A finding is a plaintext that stood where none may stand.
type finding struct{ file, what, spelling string }

// search reads every file below the folders and says which needles it met and how many files and bytes it read.
func search(ns []needle, dirs ...string) (found []finding, files int, size int64, err error) {
	for _, dir := range dirs {
		err = filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
			if err != nil || !d.Type().IsRegular() {
				return err
			}
			data, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			files++
			size += int64(len(data))
			for _, n := range ns {
				if bytes.Contains(data, n.bytes) || (n.spelling == "hex" && bytes.Contains(data, []byte(strings.ToUpper(string(n.bytes))))) {
					found = append(found, finding{path, n.what, n.spelling})
				}
			}
			return nil
		})
		if err != nil {
			return nil, 0, 0, err
		}
	}
	return found, files, size, nil
}
