package control

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
)

// Instances asks for the names of the instances that are served.
func (c *Client) Instances(ctx context.Context) ([]string, error) {
	req, err := http.NewRequestWithContext(ctx, "GET", "http://instar/v1/instances", nil)
	if err != nil {
		return nil, err
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	var answer struct{ Instances []string }
	if err := json.NewDecoder(resp.Body).Decode(&answer); err != nil {
		return nil, fmt.Errorf("cannot understand the server: %w", err)
	}
	return answer.Instances, nil
}
