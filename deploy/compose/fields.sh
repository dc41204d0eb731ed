# The custom fields that config.toml names.
set -e
field() {
    curl -fsS -X PUT -H 'content-type: application/json' -d "$2" "http://127.0.0.1:8801/sandbox/fields/$1"
    echo
}
key='"type":"Text","length":80,"externalId":true,"unique":true,"caseSensitive":true'
field Account/Company_Id__c "{$key,\"label\":\"Company id\"}"
field Account/Active__c '{"type":"Checkbox","label":"Active","defaultValue":true}'
field Contact/Customer_Id__c "{$key,\"label\":\"Customer id\"}"
field Opportunity/Deal_Id__c "{$key,\"label\":\"Deal id\"}"
