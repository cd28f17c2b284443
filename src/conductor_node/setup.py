from setuptools import find_packages, setup

setup(
    name="conductor_node",
    version="0.1.0",
    packages=find_packages(exclude=["test"]),
    package_data={"conductor_node": ["**/*.yaml", "py.typed"]},
    data_files=[
        ("share/ament_index/resource_index/packages", ["resource/conductor_node"]),
        ("share/conductor_node", ["package.xml"]),
    ],
    install_requires=["setuptools"],
    extras_require={"test": ["pytest"]},
    zip_safe=True,
    license="Apache-2.0",
    entry_points={
        "console_scripts": [
            "conductor_node = conductor_node.node:main",
        ],
    },
)
