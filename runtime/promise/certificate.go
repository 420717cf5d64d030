package promise

import (
	"context"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"time"

	"instar/runtime/plan"
)

// certificate holds when every certificate of the PEM file is valid now, and
// will be for Days days.
func (c *Checker) certificate(_ context.Context, p plan.Promise) error {
	path := p.Check.Path
	data, err := readFile(path, maxPEM)
	if err != nil {
		return err
	}
	count, now := 0, c.now()
	var first *x509.Certificate
	for block, rest := pem.Decode(data); block != nil; block, rest = pem.Decode(rest) {
		if block.Type != "CERTIFICATE" && block.Type != "TRUSTED CERTIFICATE" {
			continue
		}
		count++
		cert, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return fmt.Errorf("cannot read certificate %d of %s: %w", count, path, err)
		}
		if now.Before(cert.NotBefore) {
			return fmt.Errorf("the certificate of %s in %s is not valid before %s", holder(cert), path, date(cert.NotBefore))
		}
		if first == nil || cert.NotAfter.Before(first.NotAfter) {
			first = cert
		}
	}
	if first == nil {
		return fmt.Errorf("no PEM certificate in %s", path)
	}
	return lasts(first, path, p.Check.Days, now)
}

// lasts says when cert ends too early.
func lasts(cert *x509.Certificate, path string, days int, now time.Time) error {
	left := cert.NotAfter.Sub(now)
	switch {
	case left <= 0:
		return fmt.Errorf("the certificate of %s in %s expired on %s", holder(cert), path, date(cert.NotAfter))
	case left < time.Duration(days)*24*time.Hour:
		return fmt.Errorf("the certificate of %s in %s expires on %s, in %s; want at least %d days",
			holder(cert), path, date(cert.NotAfter), duration(left), days)
	}
	return nil
}

func holder(cert *x509.Certificate) string {
	switch {
	case cert.Subject.CommonName != "":
		return fmt.Sprintf("%q", cert.Subject.CommonName)
	case len(cert.DNSNames) > 0:
		return fmt.Sprintf("%q", cert.DNSNames[0])
	}
	return fmt.Sprintf("%q", cert.Subject.String())
}

func date(t time.Time) string { return t.UTC().Format("2006-01-02 15:04 UTC") }
