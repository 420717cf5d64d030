package promise

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"

	"instar/runtime/plan"
)

const (
	// maxBody is how much of an answer is searched, in bytes.
	maxBody   = 1 << 20
	maxHeader = 64 << 10
	maxPEM    = 4 << 20
)

// location returns the URL without its password.
func location(check plan.Check) string {
	u, err := url.Parse(check.URL)
	if err != nil {
		return check.URL
	}
	return u.Redacted()
}

// http holds when the answer has the status that is wanted and, within its
// first MiB, the text. It goes there directly, whatever proxy the environment
// names, and does not follow redirections: 302 is an answer like any other.
func (c *Checker) http(ctx context.Context, p plan.Promise) error {
	check := p.Check
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, check.URL, nil)
	if err != nil {
		return fmt.Errorf("cannot use the URL %q: %w", location(check), unwrapURL(err))
	}
	request.Header.Set("User-Agent", "instar-promise")
	if check.User != "" || check.Password != "" {
		request.SetBasicAuth(check.User, check.Password)
	}
	transport, err := c.transport(check)
	if err != nil {
		return err
	}
	defer transport.CloseIdleConnections()
	client := http.Client{
		Transport:     transport,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	response, err := client.Do(request)
	if err != nil {
		return noAnswer(request.URL, err)
	}
	defer response.Body.Close()
	want := check.Status
	if want == 0 {
		want = http.StatusOK
	}
	if response.StatusCode != want {
		return fmt.Errorf("status %d, want %d, from %s", response.StatusCode, want, location(check))
	}
	if check.Contains == nil {
		return nil
	}
	return searchBody(response.Body, check)
}

func searchBody(body io.Reader, check plan.Check) error {
	data, err := io.ReadAll(io.LimitReader(body, maxBody))
	if bytes.Contains(data, []byte(*check.Contains)) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("the answer of %s broke off after %d bytes, without %q: %w", location(check), len(data), *check.Contains, err)
	}
	where := ""
	if len(data) == maxBody {
		where = " in its first MiB"
	}
	return fmt.Errorf("the answer of %s does not contain %q%s", location(check), *check.Contains, where)
}

func (c *Checker) transport(check plan.Check) (*http.Transport, error) {
	t := &http.Transport{
		DisableKeepAlives:      true,
		MaxResponseHeaderBytes: maxHeader,
		TLSClientConfig:        &tls.Config{InsecureSkipVerify: check.Insecure, Time: c.now},
		ForceAttemptHTTP2:      true,
	}
	if check.CA == "" {
		return t, nil
	}
	data, err := readFile(check.CA, maxPEM)
	if err != nil {
		return nil, fmt.Errorf("the authority's certificate: %w", err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(data) {
		return nil, fmt.Errorf("no PEM certificate in %s", check.CA)
	}
	t.TLSClientConfig.RootCAs = pool
	return t, nil
}

// noAnswer says in words why there is no answer from u.
func noAnswer(u *url.URL, err error) error {
	err = unwrapURL(err)
	var verify *tls.CertificateVerificationError
	var record tls.RecordHeaderError
	switch {
	case errors.As(err, &verify):
		return fmt.Errorf("the certificate of %s is not accepted: %w", u.Host, verify.Err)
	case errors.As(err, &record), errors.Is(err, http.ErrSchemeMismatch):
		return fmt.Errorf("%s does not speak TLS", u.Host)
	case errors.Is(err, io.EOF):
		return fmt.Errorf("%s closed the connection without an answer", u.Host)
	}
	return unreachable(u.Host, err)
}

// unwrapURL drops the method and URL that net/http puts around an error: they
// may hold a password.
func unwrapURL(err error) error {
	var outer *url.Error
	if errors.As(err, &outer) {
		return outer.Err
	}
	return err
}
