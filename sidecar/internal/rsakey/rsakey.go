// Package rsakey makes the RSA keys of actors. It is a package of its own so that tests of other packages can have them from a stock, by package
// sidecartest, and nothing else can.
package rsakey

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"fmt"
)

const bits = 2048

// New makes a key. Only package sidecartest changes it, before any sidecar is opened.
var New = Fresh

// Fresh makes a key that nobody has had before.
func Fresh() (*rsa.PrivateKey, error) { return rsa.GenerateKey(rand.Reader, bits) }

// Make makes a key in PKCS #8.
func Make() ([]byte, error) {
	key, err := New()
	if err != nil {
		return nil, fmt.Errorf("sidecar: making an RSA key: %w", err)
	}
	return x509.MarshalPKCS8PrivateKey(key)
}

// Parse reads what Make has made.
func Parse(der []byte) (*rsa.PrivateKey, error) {
	key, err := x509.ParsePKCS8PrivateKey(der)
	if err != nil {
		return nil, fmt.Errorf("sidecar: reading an RSA key: %w", err)
	}
	private, ok := key.(*rsa.PrivateKey)
	if !ok {
		return nil, fmt.Errorf("sidecar: reading an RSA key: it is of another kind")
	}
	return private, nil
}
