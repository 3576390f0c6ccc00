package testbed

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
)

// PutEtcd writes values straight into the cluster's etcd, past the API server, at most 128 at once: what takes that too
// long. The values must be as it would store them.
func (c *Cluster) PutEtcd(ctx context.Context, values map[string][]byte) error {
	type put struct {
		Key   []byte `json:"key"`
		Value []byte `json:"value"`
	}
	var transaction struct {
		Success []map[string]put `json:"success"`
	}
	for key, value := range values {
		transaction.Success = append(transaction.Success, map[string]put{"requestPut": {[]byte(key), value}})
	}
	body, err := json.Marshal(transaction)
	if err != nil {
		return err
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, c.etcd()+"/v3/kv/txn", bytes.NewReader(body))
	if err != nil {
		return err
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	if text, err := io.ReadAll(response.Body); err != nil || response.StatusCode != http.StatusOK {
		return fmt.Errorf("write into etcd: %s: %s %w", response.Status, text, err)
	}
	return nil
}
