"""`modelplex check`: does a container keep the contract of multi-model containers?"""
