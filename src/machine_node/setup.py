from setuptools import find_packages, setup

setup(
    name="machine_node",
    version="0.1.0",
    packages=find_packages(exclude=["test"]),
    package_data={"machine_node": ["**/*.yaml", "py.typed"]},
    data_files=[
        ("share/ament_index/resource_index/packages", ["resource/machine_node"]),
        ("share/machine_node", ["package.xml"]),
    ],
    install_requires=["setuptools"],
    extras_require={"test": ["pytest"]},
    zip_safe=True,
    license="Apache-2.0",
    entry_points={
        "console_scripts": [
            "machine_node = machine_node.node:main",
            "hub_node = machine_node.hub.node:main",
            "virtual_machine = machine_node.virtual.main:main",
            "doors_node = machine_node.doors.node:main",
        ],
    },
)
